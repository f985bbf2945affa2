"""Disconnecting an account: one transaction that leaves nothing which could still publish.

What needs a call (undoing, withdrawing at the platform, emptying the tokens) stands in the outbox
from the same transaction and is carried out after it (publishing/leaving.py). The row stays, with
every post it ever made.
"""

import json
from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from minitik_dagster.db.models import Publication
from minitik_dagster.db.stages import Stage
from minitik_dagster.db.types import AccountStatus, Platform
from minitik_dagster.errors import NotFoundError
from minitik_dagster.ids import new_id
from minitik_dagster.notifications.events import tell
from minitik_dagster.notifications.notices import ACCOUNT_DISCONNECTED
from minitik_dagster.publishing import leaving_queries as queries
from minitik_dagster.publishing.review_queries import AUDIT
from minitik_dagster.scheduling.changes import (
    CHANGEABLE,
    hold,
    open_commits,
    refuse_unchangeable,
    roll_up_all,
    withdraw,
)
from minitik_dagster.scheduling.discards import Undone

Wish = Literal["hold", "cancel"]
HOLD_REASON: Final = "the account was disconnected; connect it again, or cancel the post"
_SENDING: Final = frozenset({Stage.COMMITTING, Stage.UNKNOWN})
_LATER: Final = {
    Platform.TIKTOK: "our access is withdrawn at TikTok, and then its tokens are erased here",
    Platform.YOUTUBE: "our access is withdrawn at Google, and then its tokens are erased here",
    Platform.INSTAGRAM: (
        "its tokens are erased here; Instagram lets no program withdraw its access, so the creator "
        "removes the app in Instagram under Settings, Website permissions, Apps and websites"
    ),
}


@dataclass(frozen=True)
class Disconnected:
    """What a disconnect did now, and what follows.

    `unconfirmed`: posts that were sent and are not yet seen live; nobody can ask about them any more,
    so they go to a person's review after a day. `already`: it had been disconnected before.
    """

    account_id: str
    platform: Platform
    already: bool
    held: tuple[str, ...]
    cancelled: tuple[str, ...]
    undone: tuple[Undone, ...]
    unconfirmed: tuple[str, ...]
    later: str


def disconnect(
    session: Session, account_id: str, *, posts: Wish, actor: str, user_id: str | None = None
) -> Disconnected:
    """Disconnect an account in the caller's transaction; `user_id` None is an operator.

    Its posts are held (a reconnect may release them) or cancelled. Safe to repeat: a second call
    changes only what is still left of the posts. Raises NotFoundError, and StateConflictError while
    one of its posts is being sent (engine.md R6).
    """
    found = session.execute(
        text(queries.FIND_ACCOUNT), {"account_id": account_id, "user_id": user_id}
    ).first()
    if found is None:
        raise NotFoundError(f"no account {account_id[:64]!r}; see: minitik accounts list")
    # Scheduling takes the user's lock before it looks at accounts: no post slips in beside this.
    session.execute(text(queries.LOCK_USER), {"user_id": found.user_id})
    waiting, unconfirmed = _posts(session, account_id)
    if posts == "cancel":
        changed = waiting
        undone = withdraw(session, changed)
    else:
        # What is held already stays as it is: adopted posts wait for a person, with their own reason.
        changed = [item for item in waiting if item.stage != Stage.HELD.value and item.prepare_at]
        undone = hold(session, changed, HOLD_REASON)
    ids = tuple(item.id for item in changed)
    roll_up_all(session, changed)
    marked = session.execute(text(queries.MARK), {"account_id": account_id}).first()
    result = Disconnected(
        account_id=account_id,
        platform=Platform(found.platform),
        already=marked is None,
        held=ids if posts == "hold" else (),
        cancelled=ids if posts == "cancel" else (),
        undone=undone,
        unconfirmed=unconfirmed,
        later=_LATER[Platform(found.platform)] if marked else "it had been disconnected before",
    )
    if marked is not None:
        tell(
            session,
            found.user_id,
            ACCOUNT_DISCONNECTED,
            accountId=account_id,
            platform=result.platform.value.lower(),
            status=AccountStatus.REVOKED.value,
            reason="it was disconnected here",
            heldPosts=len(result.held),
        )
        session.execute(
            text(queries.NOTE_LEAVE), {"message_id": new_id(), "account_id": account_id}
        )
    _audit(session, result, actor)
    return result


def _posts(session: Session, account_id: str) -> tuple[list[Publication], tuple[str, ...]]:
    """Lock the account's open posts, contents first; return what may be changed, and what was sent."""
    session.execute(text(queries.LOCK_CONTENTS), {"account_id": account_id})
    wanted = CHANGEABLE | _SENDING | {Stage.CONFIRMING}
    found = session.scalars(
        select(Publication)
        .where(
            Publication.account_id == account_id,
            Publication.stage.in_([stage.value for stage in wanted]),
        )
        .order_by(Publication.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    being_sent = open_commits(session, [item.id for item in found])
    refuse_unchangeable(
        session,
        [item for item in found if item.id in being_sent or Stage(item.stage or "") in _SENDING],
    )
    waiting = [item for item in found if Stage(item.stage or "") in CHANGEABLE]
    sent = tuple(item.id for item in found if item.stage == Stage.CONFIRMING.value)
    return waiting, sent


def _audit(session: Session, done: Disconnected, actor: str) -> None:
    detail = {
        "already": done.already,
        "held": len(done.held),
        "cancelled": len(done.cancelled),
        "undone": len(done.undone),
        "unconfirmed": list(done.unconfirmed),
    }
    values = {
        "row_id": new_id(),
        "actor": actor,
        "action": "account.disconnect",
        "id": done.account_id,
        "detail": json.dumps(detail),
    }
    session.execute(text(AUDIT), values)
