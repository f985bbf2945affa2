"""Which host names a server of ours answers for."""

import pytest

from minitik_dagster.errors import ConfigurationError
from minitik_dagster.hosts import allowed_hosts, host_name
from minitik_dagster.settings import Settings, load_settings


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("Posts.Example.test:443", "posts.example.test"),
        ("[::1]:9", "::1"),
        ("127.0.0.1", "127.0.0.1"),
        ("", None),
        ("[broken", None),
        ("evil.example@127.0.0.1", None),
        ("127.0.0.1/path", None),
    ],
)
def test_a_host_header_is_read_to_its_name(header: str, name: str | None) -> None:
    """What is more than a name and a port is none."""
    assert host_name(header) == name


def test_loopback_our_own_url_and_the_named_hosts_are_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The names that people reach us by, and no others."""
    monkeypatch.setenv("MINITIK_ALLOWED_HOSTS", "Dagster.Example.test, 10.0.0.5 ,[fd00::1]")
    hosts = Settings(nextauth_url="https://Posts.Example.test").allowed_hosts()
    assert hosts >= {"127.0.0.1", "localhost", "::1", "posts.example.test"}
    assert hosts >= {"dagster.example.test", "10.0.0.5", "fd00::1"}
    assert "example.test" not in hosts
    assert allowed_hosts("http://127.0.0.1:8000") == {"127.0.0.1", "localhost", "::1"}


@pytest.mark.parametrize("bad", ["https://dagster.example.test", "example.test:3000", "*", "a b"])
def test_a_name_with_more_than_a_name_is_refused_at_start(
    monkeypatch: pytest.MonkeyPatch, bad: str
) -> None:
    """A pattern or a URL there would quietly match nothing."""
    monkeypatch.setenv("MINITIK_ALLOWED_HOSTS", bad)
    with pytest.raises(ConfigurationError, match="names without scheme and port"):
        load_settings()
