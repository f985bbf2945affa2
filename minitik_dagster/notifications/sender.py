"""Sends the notices that lie in the outbox, by e-mail to the person they concern.

A row is the notice and its e-mail; for each browser of the person's it makes a row of its own, which
notifications.push sends. What a person does not wish is not sent, and waits while their quiet hours last.

Any number of processes may: SKIP LOCKED divides the rows, and a claim pushes the row's own `dueAt`
ahead, so that a crash makes it due again. A message may therefore come twice, and is never lost. What a
message held of a person (address, sealed link) is taken from its row once it is done.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final

import structlog
from sqlalchemy import Engine, RowMapping, text

from minitik_dagster.db.instance import is_ours
from minitik_dagster.errors import DependencyDownError, MinitikError
from minitik_dagster.notifications import outbox_rows
from minitik_dagster.notifications.addressee import find
from minitik_dagster.notifications.event_queries import NOW
from minitik_dagster.notifications.kinds import Channel
from minitik_dagster.notifications.mail import Mailer, choose_mailer
from minitik_dagster.notifications.notices import PUSH, SIGN_IN_LINK
from minitik_dagster.notifications.preferences import KINDS
from minitik_dagster.notifications.texts import TEXTS
from minitik_dagster.notifications.web_push import PushIdentity
from minitik_dagster.resilience.backoff import backoff_delay
from minitik_dagster.settings import Settings

_log = structlog.get_logger(__name__)
_AT_ONCE: Final = 5
# Longer than a handful of messages take.
_BUSY: Final = timedelta(seconds=60)
# A link lives 15 minutes (accounts/sign_in.py); other notices are worth a day of trying.
_LINK_LIVES: Final = timedelta(minutes=15)
_GIVE_UP: Final = timedelta(days=1)

_CLAIM: Final = text(
    f"""
    WITH due AS (
        SELECT id FROM outbox WHERE "doneAt" IS NULL AND kind = ANY(:kinds) AND "dueAt" <= {NOW}
            AND (payload ->> 'site' = :site OR CAST(:ours AS boolean) AND (payload ->> 'site' IS NULL
                OR "createdAt" < {NOW} - CAST(:lives AS interval)))
        ORDER BY "dueAt" LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    UPDATE outbox o SET attempts = o.attempts + 1, "dueAt" = {NOW} + CAST(:busy AS interval)
    FROM due WHERE o.id = due.id
    RETURNING o.id, o.kind, o.payload, o.attempts, {outbox_rows.AGE} AS age
    """  # noqa: S608 - constants
)
_WORLD: Final = text("SELECT value #>> '{}' FROM settings WHERE key = 'world'")
_BY_ADDRESS: Final = text(
    'SELECT email FROM users WHERE lower(email) = :address AND "deletedAt" IS NULL'
)
# A row per browser, under an id of its own: made again it is the same row.
_FAN_OUT: Final = text(
    f"""
    INSERT INTO outbox (id, kind, payload, "dueAt", attempts, "createdAt")
    SELECT 'push:' || o.id || ':' || s.id, '{PUSH}', o.payload || jsonb_build_object(
        'notice', o.kind, 'userId', s."userId", 'subscriptionId', s.id), {NOW}, 0, {NOW}
    FROM outbox o JOIN notification_subscriptions s ON s."userId" = :user_id
    WHERE o.id = :id
    ON CONFLICT (id) DO NOTHING
    """  # noqa: S608 - constants
)


@dataclass(frozen=True)
class _Letter:
    """What is to be sent, and to whom."""

    to: str
    facts: Mapping[str, Any]


class _NotNow(Exception):  # noqa: N818 - no error: the person's own wish
    """A letter that is not to be sent now: `note` says why not at all, `until` to when it is held."""

    def __init__(self, note: str, until: datetime | None = None) -> None:
        self.note = note
        self.until = until
        super().__init__(note)


@dataclass(frozen=True)
class NoticeSender:
    """One process's share in sending notices. `unseal` opens what the vault sealed."""

    engine: Engine
    settings: Settings
    unseal: Callable[[str], str]
    choose: Callable[[Settings, str | None], Mailer] = choose_mailer
    random: Random = field(default_factory=Random)

    def work(self) -> int:
        """Send a handful of what is due; return how many were claimed. Sign-in links go first.

        A deployment that is not the database's own sends the links that were asked for at itself, and
        nothing else; the database's own closes such links once they have expired.
        """
        with self.engine.begin() as connection:
            claimed: Sequence[RowMapping] = []
            ours = is_ours(connection, self.settings)
            whose = {"ours": ours, "site": self.settings.nextauth_url, "lives": _LINK_LIVES}
            for kinds in ([SIGN_IN_LINK], list(KINDS) if ours else []):
                values = {"kinds": kinds, "limit": _AT_ONCE - len(claimed), "busy": _BUSY, **whose}
                claimed = [*claimed, *connection.execute(_CLAIM, values).mappings().all()]
            world = connection.execute(_WORLD).scalar_one_or_none() if claimed else None
        mailer = self.choose(self.settings, world) if claimed else None
        for row in claimed:
            assert mailer is not None
            self._send(dict(row), mailer)
        return len(claimed)

    def _send(self, row: Mapping[str, Any], mailer: Mailer) -> None:
        lives = _LINK_LIVES if row["kind"] == SIGN_IN_LINK else _GIVE_UP
        try:
            if row["age"] > lives:
                _log.error("notice.given_up", notice=row["id"], kind=row["kind"])
                self._done(row, "given up: it was not taken in time")
                return
            letter = self._letter(row["id"], row["kind"], row["payload"])
            if letter is None:
                self._done(row, "nobody to send it to")
                return
            message = TEXTS[row["kind"]].filled(letter.facts)
            mailer.send(letter.to, message.subject, message.body)
        except _NotNow as wish:
            if wish.until is None:
                self._done(row, wish.note)
            else:
                with self.engine.begin() as connection:
                    outbox_rows.hold(connection, row["id"], wish.until)
        except DependencyDownError as error:
            self._again(row, str(error))
        except MinitikError as error:
            # Sealed with a key that is gone, for example: another try may come with the right one.
            _log.error("notice.unfit", notice=row["id"], error=type(error).__name__)
            self._again(row, type(error).__name__)
        else:
            _log.info("notice.sent", notice=row["id"], kind=row["kind"], note=mailer.note)
            self._done(row, mailer.note)

    def _letter(self, row_id: str, kind: str, payload: Mapping[str, Any]) -> _Letter | None:
        url = self.settings.nextauth_url
        if kind == SIGN_IN_LINK:
            address = str(payload["email"])
            with self.engine.begin() as connection:
                known = connection.execute(_BY_ADDRESS, {"address": address}).first()
            if known is None and self.settings.signup != "open":
                return None
            return _Letter(address, {"link": f"{url}/auth/verify?token={self._token(payload)}"})
        with self.engine.begin() as connection:
            person = find(connection, kind, payload, url)
            if person is None:
                return None
            if person.overtaken is not None:
                raise _NotNow(person.overtaken)
            if self._pushes and person.wishes.wants(KINDS[kind], Channel.PUSH):
                connection.execute(_FAN_OUT, {"id": row_id, "user_id": person.user_id})
        if not person.wishes.wants(KINDS[kind], Channel.EMAIL):
            raise _NotNow("not wanted by e-mail")
        until = person.wishes.held_until(kind, person.now)
        if until is not None:
            raise _NotNow("quiet hours", until)
        return _Letter(person.email, person.facts)

    @property
    def _pushes(self) -> bool:
        return PushIdentity.of(self.settings) is not None

    def _token(self, payload: Mapping[str, Any]) -> str:
        return self.unseal(str(payload["token"]))

    def _done(self, row: Mapping[str, Any], note: str | None) -> None:
        with self.engine.begin() as connection:
            outbox_rows.done(connection, row["id"], note)

    def _again(self, row: Mapping[str, Any], note: str) -> None:
        wait = backoff_delay(row["attempts"], self.random)
        _log.warning("notice.again", notice=row["id"], kind=row["kind"], reason=note)
        with self.engine.begin() as connection:
            outbox_rows.again(connection, row["id"], wait, note)
