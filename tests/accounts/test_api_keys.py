"""Keys, people and connected accounts as the command line and the API use them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.orm import Session

from minitik_dagster.accounts.api_keys import (
    create_key,
    list_keys,
    owner_of,
    revoke_key,
)
from minitik_dagster.accounts.directory import list_accounts
from minitik_dagster.accounts.scopes import USER_SCOPES, expanded
from minitik_dagster.accounts.users import create_user, find_user
from minitik_dagster.db.engine import make_engine
from minitik_dagster.db.models import Account, User
from minitik_dagster.db.types import AccountStatus, Platform, SubscriptionTier
from minitik_dagster.errors import InvalidInputError, NotFoundError, StateConflictError
from minitik_dagster.ids import new_id


@pytest.fixture
def session(database_url: str) -> Iterator[Session]:
    """A session on a fresh database."""
    engine = make_engine(database_url)
    with Session(engine) as session, session.begin():
        yield session
    engine.dispose()


@pytest.fixture
def user(session: Session) -> User:
    """Somebody."""
    return create_user(session, "Someone@Example.test")


def test_a_key_is_told_once_and_found_by_its_text(session: Session, user: User) -> None:
    key = create_key(session, user.id, "upload script")
    owner = owner_of(session, key)
    assert owner is not None
    assert (owner.user_id, owner.email, owner.email_verified) == (user.id, user.email, True)
    assert owner.scopes == expanded(USER_SCOPES)
    [facts] = list_keys(session, user.id)
    assert facts.prefix == key[:12]
    assert key not in repr(facts)
    assert owner_of(session, key + "x") is None
    assert owner_of(session, "\ud800") is None


def test_a_key_that_is_revoked_or_has_expired_opens_nothing(session: Session, user: User) -> None:
    """Revoking again says that it already was; the prefix that is shown will do as its name."""
    key = create_key(session, user.id, "a")
    assert revoke_key(session, key[:12]) is True
    assert owner_of(session, key) is None
    [facts] = list_keys(session)
    assert revoke_key(session, facts.id) is False
    past = datetime.now(UTC) - timedelta(seconds=1)
    assert owner_of(session, create_key(session, user.id, "b", expires_at=past)) is None
    ahead = datetime.now(UTC) + timedelta(hours=1)
    assert owner_of(session, create_key(session, user.id, "c", expires_at=ahead)) is not None


def test_bad_keys_are_refused_with_the_fix(session: Session, user: User) -> None:
    with pytest.raises(InvalidInputError, match="content:write"):
        create_key(session, user.id, "a", scopes=("content:wirte",))
    with pytest.raises(InvalidInputError, match="name"):
        create_key(session, user.id, " ")
    with pytest.raises(NotFoundError):
        create_key(session, "nobody", "a")
    with pytest.raises(NotFoundError):
        revoke_key(session, "nothing")
    assert list_keys(session) == []


def test_a_user_is_found_by_id_or_by_address_in_any_case(session: Session, user: User) -> None:
    assert user.email == "someone@example.test"
    assert user.subscription_tier is SubscriptionTier.FREE
    assert find_user(session, user.id) is user
    assert find_user(session, "SOMEONE@example.TEST") is user
    with pytest.raises(NotFoundError, match="minitik users create"):
        find_user(session, "other@example.test")
    with pytest.raises(StateConflictError):
        create_user(session, "SOMEONE@example.test")


@pytest.mark.parametrize(
    "email", ["", "x", "a@b", "a b@example.test", "@example.test", "a@@b.test"]
)
def test_what_is_no_address_makes_no_user(session: Session, email: str) -> None:
    with pytest.raises(InvalidInputError, match="email"):
        create_user(session, email)


@pytest.mark.parametrize(
    ("platform", "scopes", "publish", "metrics"),
    [
        (Platform.TIKTOK, ["video.publish", "video.list"], True, True),
        (Platform.TIKTOK, ["video.upload"], False, False),
        (Platform.INSTAGRAM, ["instagram_business_content_publish"], True, False),
        (Platform.YOUTUBE, ["https://www.googleapis.com/auth/youtube"], True, True),
        (Platform.YOUTUBE, ["https://www.googleapis.com/auth/youtube.upload"], False, False),
        (Platform.YOUTUBE, None, True, True),
    ],
)
def test_what_an_account_can_do_follows_from_what_was_granted(
    session: Session,
    user: User,
    platform: Platform,
    scopes: list[str] | None,
    publish: bool,
    metrics: bool,
) -> None:
    """Scopes that were never stored are trusted; an account that is not connected can do nothing."""
    account = Account(
        id=new_id(),
        user_id=user.id,
        platform=platform,
        platform_account_id="p",
        access_token="planted-secret",
        status=AccountStatus.CONNECTED,
        connected_at=datetime.now(UTC),
        details=None if scopes is None else {"scopes": scopes},
    )
    session.add(account)
    session.flush()
    [facts] = list_accounts(session, user.id)
    assert (facts.capabilities.publish, facts.capabilities.metrics) == (publish, metrics)
    assert facts.capabilities.delete is (platform is Platform.YOUTUBE and publish)
    assert bool(facts.capabilities.missing_scopes.get("publish")) is not publish
    assert ("publish" in facts.capabilities.reasons) is not publish
    assert "planted-secret" not in repr(facts)
    account.status = AccountStatus.EXPIRED
    session.flush()
    [closed] = list_accounts(session)
    assert not closed.capabilities.publish
    assert not closed.capabilities.delete
