"""The analytics collections from the command line."""

import pymongo
import pytest

from tests.cli.running import Command


def test_the_collections_are_made_and_checked(
    minitik: Command, mongodb_uri: str, mongodb_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Absent: exit 1 and what to do; made; then as it must be; a plain one is refused."""
    monkeypatch.setenv("MONGODB_URI", mongodb_uri)
    monkeypatch.setenv("MONGODB_DB", mongodb_name)
    said = minitik("analytics", "check")
    assert said.code == 1
    assert "minitik analytics ensure" in said.out
    minitik.good("analytics", "ensure")
    minitik.good("analytics", "check")
    with pymongo.MongoClient[dict[str, object]](mongodb_uri) as client:
        client[f"{mongodb_name}_old"]["analytics"].insert_one({"views": 1})
        monkeypatch.setenv("MONGODB_DB", f"{mongodb_name}_old")
        assert "renameCollection" in minitik.refused("analytics", "ensure")
        client.drop_database(f"{mongodb_name}_old")
    monkeypatch.setenv("MONGODB_URI", "mongodb://u:secret@127.0.0.1:1")
    assert "secret" not in minitik.refused("analytics", "check")
