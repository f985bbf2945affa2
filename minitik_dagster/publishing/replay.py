"""Replay of dead letters: a plan first, then the same plan again, row by row, under the row's lock.

A replay never doubles. It sends back to `scheduled` only what no commit has ever left us for. Where a
commit was sent, whatever was answered, an open step hands the post to the reconciler: it asks by the
stored handle, takes what is live as live, and only what the platform calls unpublished is committed
again, on that same handle (engine.md R1-R3, R7).
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import RowMapping, text
from sqlalchemy.orm import Session

from minitik_dagster.clock import iso_z
from minitik_dagster.db.types import AccountStatus, Platform, from_db, to_db
from minitik_dagster.errors import FieldProblem, InvalidInputError, NotFoundError
from minitik_dagster.ids import new_id
from minitik_dagster.notifications.events import tell_changes
from minitik_dagster.publishing import dead_letter_queries as queries
from minitik_dagster.publishing import pause_queries
from minitik_dagster.publishing.dead_letters import Selection, audit
from minitik_dagster.scheduling.instants import ZonedInstant, check_window
from minitik_dagster.scheduling.lead import prepare_at
from minitik_dagster.scheduling.rollup import LOCK_CONTENT, ROLL_UP
from minitik_dagster.scheduling.rules import database_now
from minitik_dagster.scheduling.schedule import DEFAULT_MAX_LATENESS

# So many at a time: all of one replay is one transaction.
REPLAY_LIMIT = 500
_LONGEST_LATENESS = timedelta(days=30)


class Action(StrEnum):
    """What a replay does with one publication."""

    PUBLISH = "publish"
    RECONCILE = "reconcile"
    SKIP_LIVE = "skip_live"
    SKIP_ACCEPTED = "skip_accepted"
    SKIP_REPLACED = "skip_replaced"
    SKIP_MOVED = "skip_moved"
    SKIP_GONE = "skip_gone"
    TOO_LATE = "too_late"
    HELD = "held"
    BUSY = "busy"


ACTING = (Action.PUBLISH, Action.RECONCILE)


@dataclass(frozen=True)
class Slot:
    """When a replayed post may go out: at another instant, or later than it was allowed to.

    `max_lateness` counts from the post's due instant, as ever.
    """

    at: datetime | None = None
    max_lateness: timedelta | None = None


@dataclass(frozen=True)
class Planned:
    """One publication's place in the plan, with the reason in plain words."""

    letter_id: str
    publication_id: str
    content_id: str
    account_id: str
    username: str | None
    platform: Platform
    code: str
    due_at: datetime
    action: Action
    reason: str


@dataclass(frozen=True)
class Replay:
    """A plan, or what was done. `more`: the selection holds more than one replay takes."""

    items: tuple[Planned, ...]
    done: bool
    more: bool
    counts: Counter[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "counts", Counter(item.action.value for item in self.items))

    def markdown(self) -> str:
        """The plan as a table; ids only, no people."""
        if not self.items:
            return "No dead letter fits."
        head = "Done" if self.done else "Plan (dry run: nothing was changed)"
        told = ", ".join(f"{count} {name}" for name, count in sorted(self.counts.items()))
        lines = [
            f"{head}: {told}." + (" There are more: replay again." if self.more else ""),
            "",
            "| publication | platform | failed with | due | action | why |",
            "|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {item.publication_id} | {item.platform.value.lower()} | {item.code} | "
            f"{iso_z(item.due_at)} | {item.action.value} | {item.reason.replace('|', '/')} |"
            for item in self.items
        ]
        return "\n".join(lines)


def replay(
    session: Session,
    selection: Selection,
    *,
    slot: Slot | None = None,
    dry_run: bool = True,
    actor: str,
) -> Replay:
    """Plan a replay, or do it, in the caller's transaction.

    Raises InvalidInputError for a selection that names nothing, a past instant or a bad lateness, and
    NotFoundError for ids that are not there or not the caller's. Safe to repeat: what was replayed is
    not failed any more and is skipped.
    """
    slot = slot or Slot()
    now = database_now(session)
    _check(selection, slot, now)
    values = selection.parameters(REPLAY_LIMIT + 1)
    chosen = list(session.execute(text(queries.CHOOSE), values).mappings())
    _require_all(selection, chosen)
    more = len(chosen) > REPLAY_LIMIT
    items = []
    for row in chosen[:REPLAY_LIMIT]:
        if not dry_run:
            # Content, then publication: the order in which the engine takes them.
            session.execute(text(LOCK_CONTENT), {"content_id": row["content_id"]})
            session.execute(text(queries.LOCK), {"publication_id": row["publication_id"]})
        letter = {"letter_id": row["letter_id"]}
        evidence = session.execute(text(queries.EVIDENCE), letter).mappings().one()
        planned = judge(evidence, slot, now)
        items.append(planned if dry_run else _act(session, evidence, planned, slot, actor))
    if not dry_run and items:
        session.execute(text(pause_queries.WAKE))
    return Replay(tuple(items), done=not dry_run, more=more)


def judge(row: RowMapping, slot: Slot, now: datetime) -> Planned:
    """Say what becomes of one publication, by the ledger and its rows alone."""
    action, reason = _judged(row, slot, now)
    return Planned(
        letter_id=row["letter_id"],
        publication_id=row["publication_id"],
        content_id=row["content_id"],
        account_id=row["account_id"],
        username=row["username"],
        platform=Platform(row["platform"]),
        code=row["code"],
        due_at=slot.at or from_db(row["due_at"]),
        action=action,
        reason=reason,
    )


def _judged(row: RowMapping, slot: Slot, now: datetime) -> tuple[Action, str]:
    if row["stage"] in {"live", "removed"}:
        return Action.SKIP_LIVE, f"it is {row['stage']}: nothing is sent"
    if row["stage"] != "failed":
        return Action.SKIP_MOVED, f"it is not failed any more: {row['stage']}"
    if row["resolved"]:
        return Action.SKIP_MOVED, f"this dead letter is {row['resolution']} already"
    if row["accepted"]:
        return (
            Action.SKIP_ACCEPTED,
            "the platform accepted it and refused it afterwards: correct it and schedule it anew",
        )
    if row["replaced_by"]:
        return Action.SKIP_REPLACED, f"scheduled again meanwhile: {row['replaced_by']}"
    if AccountStatus(row["account_status"]) is not AccountStatus.CONNECTED:
        return Action.HELD, f"the account is {row['account_status']}: reconnect it first"
    if row["sent_step"] is not None:
        return (
            Action.RECONCILE,
            "a commit was sent: the platform is asked, and only what is unpublished goes out",
        )
    if row["content_gone"]:
        return Action.SKIP_GONE, "its content was deleted: upload it again"
    if slot.at is None:
        seconds = row["max_lateness"]
        allowed = DEFAULT_MAX_LATENESS if seconds is None else timedelta(seconds=seconds)
        last = from_db(row["due_at"]) + (slot.max_lateness or allowed)
        if last < now:
            return (
                Action.TOO_LATE,
                f"it might go out until {iso_z(last)}: give a new instant or a larger maxLateness",
            )
    return Action.PUBLISH, "no commit was ever sent: it is prepared and published anew"


def _act(session: Session, row: RowMapping, planned: Planned, slot: Slot, actor: str) -> Planned:
    ids = {"publication_id": planned.publication_id}
    if planned.action is Action.SKIP_LIVE:
        session.execute(text(queries.RESOLVE), {**ids, "resolution": "live"})
        return planned
    if planned.action not in ACTING:
        return planned
    again = None
    if slot.at is not None:
        again = prepare_at(planned.platform, slot.at, row["media_size"] or 0)
    values = {
        **ids,
        "at": to_db(slot.at) if slot.at else None,
        "prepare_at": to_db(again) if again else None,
        "max_lateness": int(slot.max_lateness.total_seconds()) if slot.max_lateness else None,
    }
    if planned.action is Action.PUBLISH:
        session.execute(text(queries.BACK_TO_SCHEDULED), values)
    elif not _ask_first(session, row):
        # Only Instagram: one commit per account may be open (engine.md R5).
        return Planned(
            **{
                **vars(planned),
                "action": Action.BUSY,
                "reason": "another post of this account is being sent or asked about: replay again",
            }
        )
    else:
        session.execute(text(queries.BACK_TO_UNKNOWN), values)
    session.execute(text(queries.RESOLVE), {**ids, "resolution": "replayed"})
    detail = {
        "letter": planned.letter_id,
        "action": planned.action.value,
        "code": planned.code,
        "at": iso_z(slot.at) if slot.at else None,
        "maxLateness": values["max_lateness"],
    }
    tell_changes(session, [planned.publication_id])
    connection = session.connection()
    audit(connection, "dead_letter.replay", planned.publication_id, actor, detail)
    for statement in ROLL_UP:
        session.execute(
            text(statement), {"content_id": planned.content_id, "job_id": row["job_id"]}
        )
    return planned


def _ask_first(session: Session, row: RowMapping) -> bool:
    """Open the step by which the reconciler asks; False while the account is busy."""
    values = {
        "publication_id": row["publication_id"],
        "sent_step": row["sent_step"],
        "handle_id": row["sent_handle"],
        "step_id": new_id(),
    }
    opened = session.execute(text(queries.ASK_AGAIN), values).first()
    if opened is None:
        return session.execute(text(queries.OPEN_COMMIT), values).first() is not None
    session.execute(text(queries.DROP_OTHER_HANDLES), values)
    session.execute(text(queries.ACTIVATE_HANDLE), values)
    return True


def _check(selection: Selection, slot: Slot, now: datetime) -> None:
    problems = []
    if not selection.names_something:
        problems.append(
            FieldProblem("ids", "nothing is selected", "name ids, a code, a platform or a time")
        )
    late = slot.max_lateness
    if late is not None and not timedelta(seconds=1) <= late <= _LONGEST_LATENESS:
        problems.append(
            FieldProblem("maxLateness", f"{late} is out of range", "between 1 second and 30 days")
        )
    if problems:
        raise InvalidInputError(*problems)
    if slot.at is not None:
        check_window(ZonedInstant(slot.at, "UTC"), now, field="at")


def _require_all(selection: Selection, chosen: list[RowMapping]) -> None:
    if not selection.ids:
        return
    found = {row["letter_id"] for row in chosen} | {row["publication_id"] for row in chosen}
    missing = [item for item in selection.ids if item not in found]
    if missing:
        named = ", ".join(repr(item[:64]) for item in missing[:5])
        raise NotFoundError(f"no dead letter {named}; see: minitik dead-letters list")
