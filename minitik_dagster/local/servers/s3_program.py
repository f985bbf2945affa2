"""`python -m minitik_dagster.local.servers.s3_program`: localbucket without secrets in its log.

It logs each request's whole path; the query of a presigned URL is a credential.
"""

import logging
import re

import localbucket

_QUERY = re.compile(r"\?[^\s\"]*")


class WithoutQueries(logging.Filter):
    """Cuts the query out of whatever is logged."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record; it is always kept."""
        record.msg = _QUERY.sub("?…", record.getMessage())
        record.args = ()
        return True


def main() -> None:
    """Run localbucket with its own command line."""
    localbucket.logger.addFilter(WithoutQueries())
    localbucket.main()


if __name__ == "__main__":
    main()
