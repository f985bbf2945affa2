"""Structured logs: one line per event on standard error, and no secret in any of them.

Nothing is meant to hand a secret to a logger; what does so all the same is redacted here, as a last net:
in our own events, and in what libraries log by the standard library's means.
"""

import json
import logging
import re
import sys
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Final

import structlog
from pydantic import SecretStr
from structlog.tracebacks import ExceptionDictTransformer

from minitik_dagster.redaction import REDACTED, redact_credentials
from minitik_dagster.settings import Settings

# They log whole URLs at INFO.
HTTP_LOGGERS: Final = (
    *("httpx", "httpx2", "httpcore", "httpcore2", "h2", "hpack"),
    *("boto3", "botocore", "s3transfer", "urllib3"),
)
_SECRET_NAMES: Final = (
    *("token", "secret", "password", "authorization", "cookie", "signature"),
    *("apikey", "encryptionkey", "uploadurl", "sessionuri", "sealed"),
)

Event = MutableMapping[str, Any]
# The values of this process's own secrets, wherever they stand.
_known: set[str] = set()


def configure_logging(settings: Settings | None = None, *, readable: bool | None = None) -> None:
    """Send our events and the libraries' to standard error, redacted; may be called again.

    `settings` choose the format (unless `readable` does) and name secrets that must never appear.
    Where the process has handlers of its own on the root logger (Dagster, a test) they stay the only
    ones; what they write is redacted too.
    """
    if readable is None:
        readable = settings is not None and settings.minitik_log_format == "human"
    if settings is not None:
        _known.update(_secrets_of(settings))
    for name in HTTP_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # Frames without their local variables: those hold tokens.
            structlog.processors.ExceptionRenderer(
                ExceptionDictTransformer(show_locals=False, max_frames=20)
            ),
            redact,
            _as_words if readable else structlog.processors.JSONRenderer(),
        ],
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )
    if not isinstance(logging.getLogRecordFactory(), _RedactedRecords):
        logging.setLogRecordFactory(_RedactedRecords(logging.getLogRecordFactory()))
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(_ToEvents())


def redact_text(text: str) -> str:
    """Return the text without what looks like a credential."""
    for secret in _known:
        if secret in text:
            text = text.replace(secret, REDACTED)
    return redact_credentials(text)


def redact(_logger: object, _method: str, event: Event) -> Event:
    """Redact every text of an event, however deep it stands (a structlog processor)."""
    return {str(name): _redacted(value, str(name)) for name, value in event.items()}


def _redacted(value: Any, name: str = "") -> Any:
    if isinstance(value, bool | int | float) or value is None:
        return value
    if isinstance(value, Mapping):
        return {str(key): _redacted(item, str(key)) for key, item in value.items()}
    plain = re.sub(r"[^a-z]", "", name.lower())
    if plain.endswith(_SECRET_NAMES):
        return REDACTED
    if isinstance(value, list | tuple | set | frozenset):
        return [_redacted(item) for item in value]
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return redact_text(str(value))


def _secrets_of(settings: Settings) -> set[str]:
    values = (getattr(settings, name) for name in Settings.model_fields)
    texts = {value.get_secret_value() for value in values if isinstance(value, SecretStr)}
    return {
        part for text in texts for part in (text, *text.replace(",", " ").split()) if len(part) >= 8
    }


def _as_words(_logger: object, _method: str, event: Event) -> str:
    """Write an event for people, still as one line: time, level, event, then name=value."""
    first = [str(event.pop(name)) for name in ("timestamp", "level", "event")]
    rest = [f"{name}={_word(value)}" for name, value in event.items()]
    return " ".join([text if text.isprintable() else json.dumps(text) for text in first] + rest)


def _word(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() and not {" ", '"'} & set(text) else json.dumps(text)


class _RedactedRecords:
    """Makes the standard library's log records without secrets, whichever handler shows them."""

    def __init__(self, make: Callable[..., logging.LogRecord]) -> None:
        self._make = make

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = self._make(*args, **kwargs)
        if isinstance(record.args, tuple):
            record.args = tuple(redact_text(a) if isinstance(a, str) else a for a in record.args)
        try:
            message = clean = record.getMessage()
        except Exception:
            # A library's wrong format: its handler would fail, and show the arguments.
            message, clean = "", f"{record.msg} {record.args}"
        clean = redact_text(clean)
        if clean != message:
            record.msg, record.args = clean, ()
        if record.exc_info and record.exc_info[0] is not None:
            # Formatters take this text in place of making their own.
            record.exc_text = redact_text(
                "".join(traceback.format_exception(*record.exc_info)).rstrip()
            )
        return record


class _ToEvents(logging.Handler):
    """Turns what libraries log into events of ours. Dagster shows its own lines itself."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record once more, as an event."""
        if record.name.partition(".")[0] == "dagster":
            return
        try:
            structlog.get_logger().log(
                min(record.levelno // 10 * 10, logging.CRITICAL),
                record.getMessage(),
                logger=record.name,
                exc_info=record.exc_info,
            )
        except Exception:
            # As the standard library wants it of a handler: logging ends no caller.
            self.handleError(record)
