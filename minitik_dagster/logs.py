"""Structured logs: one line per event, no secrets."""

import logging

import structlog


def configure_logging() -> None:
    """Send structlog's events to standard error and quieten the HTTP libraries."""
    for name in ("httpx", "httpx2", "httpcore", "httpcore2", "boto3", "botocore", "urllib3"):
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.dict_tracebacks,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(),
    )
