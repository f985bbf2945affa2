"""The one tree of domain errors.

    MinitikError
    ├── ConfigurationError       the environment is unfit; names every problem at once
    ├── InvalidInputError        a value was refused before anything changed (HTTP 400)
    ├── SignatureRefusedError    an event is not signed by the platform it names (401)
    ├── NotFoundError            not there, or not yours (404)
    ├── StateConflictError       the state forbids it, and says which state (409)
    ├── StaleVersionError        the thing has changed since the caller read it (412)
    ├── RuleRefusedError         well-formed, but a rule refuses it (422)
    ├── NotConnectedError        connecting an account ended without one, and says why (422)
    ├── TooManyAttemptsError     a limit of attempts is used up; says how long to wait (429)
    ├── DependencyDownError      a server we need does not answer (503)
    ├── SchemaVersionError       the database has another schema version than this program
    ├── LeaseLostError           another dispatcher holds the publication now
    └── PlatformError            what a platform's answer means for us
        ├── TransientError       repeat with backoff; only of a step that cannot publish
        ├── ThrottledError       wait until the platform's reset; costs no attempt
        ├── AuthExpiredError     a definite refusal: refresh once, open a new step
        ├── RevokedError         access withdrawn: hold the account's posts
        ├── RejectedError        final: the reason in plain words and the fix
        ├── HandleDeadError      the platform calls the handle terminal: a new one may be made
        ├── UnknownOutcomeError  the step may have published: ask first
        └── NotSentError         the send deadline had passed before the first byte

No error carries a token, an upload URL or a presigned URL.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

from minitik_dagster.redaction import redact_credentials, redact_opaque


@dataclass(frozen=True)
class FieldProblem:
    """One bad value: the field's name, what is wrong with it, and the fix."""

    field: str
    message: str
    fix: str = ""

    def __str__(self) -> str:
        """All three in one line: the field, what is wrong, and after a dash the fix."""
        return f"{self.field}: {self.message}" + (f" - {self.fix}" if self.fix else "")


class MinitikError(Exception):
    """Base of every error this project raises on purpose."""


class ConfigurationError(MinitikError):
    """The environment is unfit to start with; the text names every problem at once."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


class InvalidInputError(MinitikError):
    """A value was refused and nothing was changed; each problem names field, value and fix."""

    def __init__(self, *problems: FieldProblem) -> None:
        self.problems = problems
        super().__init__("; ".join(map(str, problems)))


class SignatureRefusedError(MinitikError):
    """A platform's event is not signed with our secret, or was signed too long ago; nothing was stored."""


class NotFoundError(MinitikError):
    """The thing named does not exist, or is not the caller's: the two look alike on purpose."""


class StateConflictError(MinitikError):
    """The present state forbids what was asked; `state` says which state that is."""

    def __init__(self, message: str, *, state: str) -> None:
        self.state = state
        super().__init__(message)


class StaleVersionError(MinitikError):
    """The thing is at another version than the one the caller read; nothing was changed."""


class RuleRefusedError(MinitikError):
    """Well-formed, but a rule refuses it (a limit, a media verdict, a duplicate)."""

    def __init__(self, *problems: FieldProblem) -> None:
        self.problems = problems
        super().__init__("; ".join(map(str, problems)))


class NotConnectedError(MinitikError):
    """Connecting an account ended without one; nothing of it was stored in accounts.

    `code` is a row of docs/accounts.md, `reason` is in plain words, `fix` says what to do.
    """

    def __init__(self, reason: str, *, code: str, fix: str) -> None:
        self.reason = reason
        self.code = code
        self.fix = fix
        super().__init__(f"{reason} ({code})")


class TooManyAttemptsError(MinitikError):
    """A client has used up its attempts to sign in or to connect; `retry_after` is how long to wait."""

    def __init__(self, message: str, *, retry_after: timedelta) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class DependencyDownError(MinitikError):
    """A server we need does not answer; `dependency` names it (postgresql, redis, mongodb, s3)."""

    def __init__(self, dependency: str, message: str) -> None:
        self.dependency = dependency
        super().__init__(message)


class SchemaVersionError(MinitikError):
    """The database's schema version is not the one this program was made for."""


class LeaseLostError(MinitikError):
    """The publication's lease token has risen: another dispatcher owns it; write nothing more."""


class PlatformError(MinitikError):
    """What an answer of a platform means for us.

    `code` is the platform's own code as text, `request_id` its id for support (TikTok `log_id`,
    Meta `fbtrace_id`), `reason` is in plain words, `fix` says what to do, and `unhealthy` is the
    health column: whether the call counts against the platform's circuit breaker.
    """

    outcome: ClassVar[str] = "transient"

    def __init__(
        self,
        reason: str,
        *,
        code: str = "",
        request_id: str | None = None,
        fix: str = "",
        unhealthy: bool = False,
    ) -> None:
        # Stored, logged and shown: a platform may repeat a token of ours in its words.
        self.reason = reason = redact_opaque(reason)
        self.code = code = redact_opaque(code)
        self.request_id = redact_credentials(request_id) if request_id else request_id
        self.fix = fix
        self.unhealthy = unhealthy
        super().__init__(f"{reason} ({code})" if code else reason)


class TransientError(PlatformError):
    """May be repeated with backoff: the step cannot have published."""

    outcome = "transient"
    retry_after: timedelta | None = None


class ThrottledError(PlatformError):
    """Too many calls or a used-up quota: wait until `until`, else ask again; costs no attempt."""

    outcome = "throttled"
    until: datetime | None = None
    retry_after: timedelta | None = None


class AuthExpiredError(PlatformError):
    """401 or an expired token: a documented refusal, so nothing was done."""

    outcome = "auth_expired"


class RevokedError(PlatformError):
    """The account's access was withdrawn; only the person can restore it.

    `expired` is true where a re-login is all that is missing (status EXPIRED), false where the
    person or the platform withdrew it (status REVOKED). `permission` is true where the answer says
    that one permission is missing, which need not be the end of the others.
    """

    outcome = "revoked"
    expired: bool = False
    permission: bool = False


class RejectedError(PlatformError):
    """The platform refuses this post for good (caption, format, duration, policy)."""

    outcome = "rejected"


class HandleDeadError(PlatformError):
    """The platform calls the handle terminal (FAILED, ERROR, EXPIRED): R2 allows a new one."""

    outcome = "handle_dead"


class UnknownOutcomeError(PlatformError):
    """A step that can publish got no documented refusal: it may have happened (engine.md R1)."""

    outcome = "unknown"


class NotSentError(PlatformError):
    """The send deadline passed before the first byte left (engine.md R4): nothing was sent."""

    outcome = "not_sent"
