"""Sends the notices that lie in the outbox, by e-mail to the person they concern.

Any number of processes may: SKIP LOCKED divides the rows, and a claim pushes the row's own `dueAt`
ahead, so that a crash makes it due again. A message may therefore come twice, and is never lost. What a
message held of a person (address, sealed link) is taken from its row once it is done.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any, Final

import structlog
from sqlalchemy import Engine, text

from minitik_dagster.errors import DependencyDownError, MinitikError
from minitik_dagster.notifications.mail import Mailer, choose_mailer
from minitik_dagster.notifications.notices import SIGN_IN_LINK
from minitik_dagster.notifications.texts import TEXTS
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
    """
    WITH due AS (
        SELECT id FROM outbox
        WHERE "doneAt" IS NULL AND kind = ANY(:kinds)
            AND "dueAt" <= statement_timestamp() AT TIME ZONE 'UTC'
        ORDER BY "dueAt" LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    UPDATE outbox o SET attempts = o.attempts + 1,
        "dueAt" = (statement_timestamp() AT TIME ZONE 'UTC') + CAST(:busy AS interval)
    FROM due WHERE o.id = due.id
    RETURNING o.id, o.kind, o.payload, o.attempts,
        (statement_timestamp() AT TIME ZONE 'UTC') - o."createdAt" AS age
    """
)
_DONE: Final = text(
    """
    UPDATE outbox SET "doneAt" = statement_timestamp() AT TIME ZONE 'UTC', error = :note,
        payload = payload - 'token' - 'email'
    WHERE id = :id
    """
)
_AGAIN: Final = text(
    """
    UPDATE outbox SET error = :note,
        "dueAt" = (statement_timestamp() AT TIME ZONE 'UTC') + CAST(:wait AS interval)
    WHERE id = :id
    """
)
_WORLD: Final = text("SELECT value #>> '{}' FROM settings WHERE key = 'world'")
_BY_ADDRESS: Final = text(
    'SELECT email FROM users WHERE lower(email) = :address AND "deletedAt" IS NULL'
)
# A notice names its person, or the account or publication by which they are found.
_OWNER: Final = text(
    """
    SELECT u.email, a.platform::text AS platform, a."platformUsername" AS username
    FROM users u
    LEFT JOIN publications p ON p.id = :publication_id
    LEFT JOIN contents c ON c.id = p."contentId"
    LEFT JOIN accounts a ON a.id = COALESCE(:account_id, p."accountId") AND a."userId" = u.id
    WHERE u."deletedAt" IS NULL AND u.id = COALESCE(:user_id, c."userId",
        (SELECT "userId" FROM accounts WHERE id = :account_id))
    """
)


@dataclass(frozen=True)
class _Letter:
    """What is to be sent, and to whom."""

    to: str
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class NoticeSender:
    """One process's share in sending notices. `unseal` opens what the vault sealed."""

    engine: Engine
    settings: Settings
    unseal: Callable[[str], str]
    choose: Callable[[Settings, str | None], Mailer] = choose_mailer
    random: Random = field(default_factory=Random)

    def work(self) -> int:
        """Send a handful of what is due; return how many were claimed."""
        with self.engine.begin() as connection:
            values = {"kinds": list(TEXTS), "limit": _AT_ONCE, "busy": _BUSY}
            claimed = connection.execute(_CLAIM, values).mappings().all()
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
            letter = self._letter(row["kind"], row["payload"])
            if letter is None:
                self._done(row, "nobody to send it to")
                return
            message = TEXTS[row["kind"]].filled(letter.facts)
            mailer.send(letter.to, message.subject, message.body)
        except DependencyDownError as error:
            self._again(row, str(error))
        except MinitikError as error:
            # Sealed with a key that is gone, for example: another try may come with the right one.
            _log.error("notice.unfit", notice=row["id"], error=type(error).__name__)
            self._again(row, type(error).__name__)
        else:
            _log.info("notice.sent", notice=row["id"], kind=row["kind"], note=mailer.note)
            self._done(row, mailer.note)

    def _letter(self, kind: str, payload: Mapping[str, Any]) -> _Letter | None:
        url = self.settings.nextauth_url
        if kind == SIGN_IN_LINK:
            address = str(payload["email"])
            with self.engine.begin() as connection:
                known = connection.execute(_BY_ADDRESS, {"address": address}).first()
            if known is None and self.settings.signup != "open":
                return None
            return _Letter(address, {"link": f"{url}/auth/verify?token={self._token(payload)}"})
        values = {
            "user_id": payload.get("userId"),
            "account_id": payload.get("accountId"),
            "publication_id": payload.get("publicationId"),
        }
        with self.engine.begin() as connection:
            owner = connection.execute(_OWNER, values).mappings().first()
        if owner is None:
            return None
        platform = str(payload.get("platform") or owner["platform"] or "").capitalize()
        platform = {"Tiktok": "TikTok", "Youtube": "YouTube"}.get(platform, platform)
        return _Letter(owner["email"], {**payload, "platform": platform, "url": url})

    def _token(self, payload: Mapping[str, Any]) -> str:
        return self.unseal(str(payload["token"]))

    def _done(self, row: Mapping[str, Any], note: str | None) -> None:
        with self.engine.begin() as connection:
            connection.execute(_DONE, {"id": row["id"], "note": note})

    def _again(self, row: Mapping[str, Any], note: str) -> None:
        wait = backoff_delay(row["attempts"], self.random)
        _log.warning("notice.again", notice=row["id"], kind=row["kind"], reason=note)
        with self.engine.begin() as connection:
            connection.execute(_AGAIN, {"id": row["id"], "wait": wait, "note": note})
