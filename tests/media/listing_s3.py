"""An S3 server that can list the parts of an upload: the embedded one with that operation added."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from xml.etree import ElementTree as ET

from localbucket import S3_NAMESPACE, S3Handler, object_etag


class ListingHandler(S3Handler):  # type: ignore[misc]  # localbucket has no types
    """Answers ListParts as the Amazon S3 API reference says, `max-parts` at a time."""

    max_parts = 2

    def _get_request(self, bucket: str, key: str) -> None:
        if "uploadId" not in self.query:
            super()._get_request(bucket, key)
            return
        after = int(self.query.get("part-number-marker", "0"))
        folder = self._upload_dir(bucket, key)
        found = sorted(p for p in folder.iterdir() if p.name.isdigit() and int(p.name) > after)
        root = ET.Element("ListPartsResult", xmlns=S3_NAMESPACE)
        shown = found[: self.max_parts]
        ET.SubElement(root, "IsTruncated").text = str(len(found) > len(shown)).lower()
        ET.SubElement(root, "NextPartNumberMarker").text = str(int(shown[-1].name) if shown else 0)
        for path in shown:
            part = ET.SubElement(root, "Part")
            ET.SubElement(part, "PartNumber").text = str(int(path.name))
            ET.SubElement(part, "ETag").text = f'"{object_etag(path)}"'
            ET.SubElement(part, "Size").text = str(path.stat().st_size)
        self._send_xml(root)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's name
        """Say nothing."""


@contextmanager
def listing_s3(folder: Path, bucket: str) -> Iterator[str]:
    """Serve `folder` with an empty bucket; yields the endpoint."""
    (folder / bucket).mkdir(parents=True)
    handler = type("Handler", (ListingHandler,), {"data_root": folder.resolve()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
