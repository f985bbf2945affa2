"""Embedded S3: localbucket, folders on disk behind the S3 protocol."""

import http.client
import sys

from minitik_dagster.local.errors import LocalStackError
from minitik_dagster.local.ports import LOOPBACK
from minitik_dagster.local.process import ChildProcess
from minitik_dagster.local.servers.base import EmbeddedServer, program_environment


class S3Server(EmbeddedServer):
    """An S3 endpoint whose buckets are folders; credentials are not checked."""

    name = "S3"

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`, path-style."""
        return f"http://{LOOPBACK}:{self.port}"

    def create_bucket(self, bucket: str) -> None:
        """Make the bucket if it is not there yet."""
        # No proxy of the environment comes between: the server is ours and on loopback.
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=10)
        try:
            connection.request("PUT", f"/{bucket}")
            response = connection.getresponse()
            response.read()
        finally:
            connection.close()
        if response.status not in {200, 409}:  # 409: it is there already
            raise LocalStackError(f"S3: bucket {bucket!r} was refused with {response.status}")

    def _child_process(self) -> ChildProcess:
        return ChildProcess(
            self.name,
            [
                *(sys.executable, "-m", "minitik_dagster.local.servers.s3_program"),
                str(self.folder / "buckets"),
                *("--host", LOOPBACK, "--port", str(self.port)),
            ],
            log=self.log,
            env=program_environment(),
            cwd=self.folder,
            grace_seconds=3.0,
        )
