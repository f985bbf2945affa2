"""`python -m minitik_dagster.local.servers.s3_program`: localbucket, in two points as Amazon's S3 is.

It logs each request's whole path; the query of a presigned URL is a credential and is cut out. And it
would store what came of a body that was cut short: a part of an uploader that was killed.
"""

import logging
import re
from http import HTTPStatus
from typing import Any

import localbucket

_QUERY = re.compile(r"\?[^\s\"]*")


class WithoutQueries(logging.Filter):
    """Cuts the query out of whatever is logged."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record; it is always kept."""
        record.msg = _QUERY.sub("?…", record.getMessage())
        record.args = ()
        return True


def refuse_cut_bodies() -> None:
    """Answer IncompleteBody ("Error responses", Amazon S3 API Reference) where less came than was said."""
    read_body = localbucket.S3Handler._read_body

    def whole_body(handler: Any) -> bytes:
        stream = _Counting(handler.rfile)
        handler.rfile = stream
        try:
            body: bytes = read_body(handler)
        finally:
            handler.rfile = stream.inner
        told = handler.headers.get("Content-Length") or "0"
        if told.isdigit() and stream.count < int(told):
            handler.close_connection = True
            raise localbucket.S3Error(
                HTTPStatus.BAD_REQUEST, "IncompleteBody", "The body was cut short."
            )
        return body

    localbucket.S3Handler._read_body = whole_body


class _Counting:
    """A request's stream that counts what is read of it."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.count = 0

    def read(self, size: int = -1) -> bytes:
        """Read and count."""
        data: bytes = self.inner.read(size)
        self.count += len(data)
        return data

    def readline(self, size: int = -1) -> bytes:
        """Read a line and count it."""
        data: bytes = self.inner.readline(size)
        self.count += len(data)
        return data


def main() -> None:
    """Run localbucket with its own command line."""
    refuse_cut_bodies()
    localbucket.logger.addFilter(WithoutQueries())
    localbucket.main()


if __name__ == "__main__":
    main()
