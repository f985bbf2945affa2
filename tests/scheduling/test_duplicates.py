"""The same post twice on one account: refused unless allowed, across contents, within 72 h."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from minitik_dagster.db.engine import make_engine
from minitik_dagster.db.types import Platform
from minitik_dagster.errors import RuleRefusedError
from minitik_dagster.media.facts import MediaFacts
from minitik_dagster.scheduling.instants import ZonedInstant
from minitik_dagster.scheduling.rules import Examination, Wish
from minitik_dagster.scheduling.schedule import schedule
from minitik_dagster.scheduling.validation import validate
from minitik_dagster.settings import Settings
from tests.api.scene import VERTICAL, Person, Scene

HASHED = replace(VERTICAL, fingerprint="sha256:" + "ab" * 32)
LARGE = replace(VERTICAL, fingerprint="s3:900000000:0123456789abcdef-108")
# Stored before there were fingerprints: only the hash is there.
EARLIER = replace(VERTICAL, sha256="ab" * 32)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """A pool of connections to this test's database."""
    engine = make_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def scene(engine: Engine) -> Scene:
    """What makes people, accounts and contents."""
    return Scene(engine)


@pytest.fixture
def person(scene: Scene) -> Person:
    """Somebody who publishes."""
    return scene.person()


@pytest.fixture
def account(scene: Scene, person: Person) -> str:
    """Where they publish."""
    return scene.account(person, Platform.INSTAGRAM)


def hours_ahead(hours: float) -> ZonedInstant:
    at = datetime.now(UTC) + timedelta(hours=hours)
    return ZonedInstant(at.replace(microsecond=0), "UTC")


def wish(person: Person, content: str, account: str, *, allow: bool = False) -> Wish:
    return Wish(person.id, content, (account,), allow_duplicate=allow)


def put(engine: Engine, wanted: Wish, when: ZonedInstant) -> list[str]:
    """Schedule it; return the warnings."""
    with Session(engine) as session, session.begin():
        return [item.message for item in schedule(session, wanted, when).warnings]


def check(engine: Engine, wanted: Wish) -> Examination:
    """Validate it; without ENCRYPTION_KEY no platform is asked."""
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    settings = Settings(database_url=SecretStr(url))
    return validate(engine, settings, wanted, max_lateness=timedelta(hours=6)).found


@pytest.mark.parametrize(("first", "second"), [(HASHED, HASHED), (LARGE, LARGE), (EARLIER, HASHED)])
def test_the_same_file_and_caption_from_another_content_is_refused_and_told_by_validate(
    engine: Engine,
    scene: Scene,
    person: Person,
    account: str,
    first: MediaFacts,
    second: MediaFacts,
) -> None:
    """422 at scheduling, an error of validate, naming the other content; nothing is written."""
    before = scene.content(person, title="A clip", facts=first)
    put(engine, wish(person, before, account), hours_ahead(1))
    again = wish(person, scene.content(person, title="A clip", facts=second), account)
    rows = scene.fingerprint()
    with pytest.raises(RuleRefusedError, match=f"same file.*INSTAGRAM account {account}.*{before}"):
        put(engine, again, hours_ahead(2))
    found = check(engine, again)
    assert [problem.field for problem in found.refused] == ["accountIds"]
    assert "allowDuplicate" in found.refused[0].fix
    assert scene.fingerprint() == rows


def test_allowed_it_is_scheduled_with_a_warning(
    engine: Engine, scene: Scene, person: Person, account: str
) -> None:
    """AllowDuplicate turns the refusal into a warning, of other contents and of the same one."""
    before = scene.content(person, title="A clip", facts=HASHED)
    put(engine, wish(person, before, account), hours_ahead(1))
    other = scene.content(person, title="A clip", facts=HASHED)
    [told] = put(engine, wish(person, other, account, allow=True), hours_ahead(2))
    assert "the same file with the same caption is already scheduled" in told
    [told] = put(engine, wish(person, before, account, allow=True), hours_ahead(3))
    assert "this content is already scheduled" in told


def test_another_caption_file_account_or_week_is_another_post(
    engine: Engine, scene: Scene, person: Person, account: str
) -> None:
    """Only the four together make a duplicate."""
    put(
        engine,
        wish(person, scene.content(person, title="A clip", facts=HASHED), account),
        hours_ahead(1),
    )

    def other(title: str = "A clip", facts: MediaFacts | None = HASHED) -> str:
        return scene.content(person, title=title, facts=facts)

    elsewhere = scene.account(person, Platform.INSTAGRAM)
    for content, where, hours in (
        (other(title="Another caption"), account, 2.0),
        (other(facts=LARGE), account, 2.0),
        (other(facts=VERTICAL), account, 2.0),
        (other(facts=None), account, 2.0),
        (other(), elsewhere, 2.0),
        (other(), account, 1.0 + 73),
    ):
        warnings = put(engine, wish(person, content, where), hours_ahead(hours))
        assert not any("already" in told for told in warnings)


_LIVE = "stage = 'live', status = 'PUBLISHED', "
_LONG_AGO = '"committedAt" = "createdAt" - interval \'80 hours\''


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ("stage = 'failed', status = 'FAILED'", False),
        ("stage = 'cancelled', status = 'FAILED'", False),
        ("stage = 'removed', status = 'PUBLISHED'", False),
        (_LIVE + '"committedAt" = "createdAt"', True),
        (_LIVE + _LONG_AGO, False),
        (_LIVE + '"rolledBackAt" = "createdAt", ' + _LONG_AGO, True),
    ],
)
def test_what_counts_is_what_is_public_or_may_become_so(
    engine: Engine, scene: Scene, person: Person, account: str, change: str, *, refused: bool
) -> None:
    """Ended posts do not count; live ones for 72 h; rolled back and still public, for ever."""
    before = scene.content(person, title="A clip", facts=HASHED)
    put(engine, wish(person, before, account), hours_ahead(1))
    scene.run(f"UPDATE publications SET {change}")  # noqa: S608 - a constant of this test
    again = wish(person, scene.content(person, title="A clip", facts=HASHED), account)
    found = check(engine, again)
    assert bool(found.refused) is refused
