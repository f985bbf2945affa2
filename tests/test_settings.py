"""The environment is read once, whole, and shows no secret."""

import pytest
from pydantic import SecretStr

from minitik_dagster.errors import ConfigurationError
from minitik_dagster.settings import ENCRYPTION_KEY_MESSAGE, Settings, load_settings

KEY, OTHER = "ab" * 32, "cd" * 32
HOSTS = sorted(name for name in Settings.model_fields if name.endswith("_base_url"))
PLATFORM_HOSTS = [name for name in HOSTS if name != "media_public_base_url"]
SECRETS = sorted(
    name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)
)


def planted(name: str) -> str:
    """A value of the right form with a word in it that must not be seen."""
    if name.startswith("encryption_key"):
        return "feedface" * 8
    if name in {"database_url", "direct_url", "dagster_postgres_url"}:
        return "postgresql://minitik:feedface@db.example/minitik"
    if name in {"redis_url", "mongodb_uri"}:
        return f"{name.partition('_')[0]}://:feedface@host/0"
    if name == "vapid_private_key":
        return "feedface" * 5 + "AAA"
    return "feedface-secret"


def test_nothing_set_is_a_valid_environment() -> None:
    """What a command needs is asked for by that command, not at import."""
    settings = load_settings()
    assert settings.database_url is None
    assert settings.platform_world == "live"


def test_every_problem_is_told_at_once_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name and fix of each; no value, for it may be a secret."""
    bad = {
        "DATABASE_URL": "mysql://minitik:feedface@host/db",
        "DIRECT_URL": "postgresql://minitik@host:feedface/db",
        "REDIS_URL": "feedface:6379",
        "MONGODB_URI": "feedface:27017",
        "ENCRYPTION_KEY": "feedface",
        "ENCRYPTION_KEY_PREVIOUS": f"{KEY},feedface",
        "MINITIK_LEASE_SECONDS": "feedface",
        "MINITIK_CLAIM_LIMIT": "0",
        "SIGNUP": "feedface",
        "NEXTAUTH_URL": "feedface.example",
        "TIKTOK_API_BASE_URL": "http://127.0.0.1:feedface",
    }
    for name, value in bad.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert len(caught.value.problems) == len(bad)
    told = str(caught.value)
    assert all(name in told for name in bad)
    assert ENCRYPTION_KEY_MESSAGE in told
    assert "feedface" not in told
    assert "\n" not in told


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_never_prints(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Not by repr, str or a dump of the whole."""
    monkeypatch.setenv(name.upper(), planted(name))
    settings = load_settings()
    for told in (
        repr(settings),
        str(settings),
        str(settings.model_dump()),
        settings.model_dump_json(),
    ):
        assert "feedface" not in told
    value = getattr(settings, name)
    assert isinstance(value, SecretStr)
    assert value.get_secret_value() == planted(name)


def test_what_can_hold_a_credential_is_typed_as_a_secret() -> None:
    """A new variable with such a name must be one too."""
    suspicious = {
        name
        for name in Settings.model_fields
        if any(part in name for part in ("secret", "password", "private_key", "api_key", "token"))
        or name.endswith(("_uri", "encryption_key", "access_key_id"))
        or name in {"database_url", "direct_url", "redis_url", "dagster_postgres_url"}
    }
    assert suspicious <= set(SECRETS)


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `.env` forms leave them."""
    for name in Settings.model_fields:
        monkeypatch.setenv(name.upper(), "")
    settings = load_settings()
    for name, field in Settings.model_fields.items():
        assert getattr(settings, name) == field.get_default(call_default_factory=True)


@pytest.mark.parametrize("bad", ["", "ab" * 31, "ab" * 33, "zz" * 32, "key"])
def test_a_missing_or_malformed_key_names_the_command_that_makes_one(
    monkeypatch: pytest.MonkeyPatch, bad: str
) -> None:
    """The contract's own words."""
    monkeypatch.setenv("ENCRYPTION_KEY", bad)
    with pytest.raises(ConfigurationError) as caught:
        load_settings().encryption_keys()
    assert str(caught.value) == ENCRYPTION_KEY_MESSAGE


def test_previous_keys_come_after_the_present_one_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening tries them in this order; spaces and capitals do not matter."""
    monkeypatch.setenv("ENCRYPTION_KEY", f" {KEY.upper()} ")
    monkeypatch.setenv("ENCRYPTION_KEY_PREVIOUS", f"{OTHER} , {KEY}")
    keys = load_settings().encryption_keys()
    assert [key.hex() for key in keys] == [KEY, OTHER, KEY]


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_a_database_url_comes_as_operators_have_it(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    url = f"{scheme}://u:p@h:5432/d?schema=s&pgbouncer=true&connection_limit=1&sslmode=require"
    monkeypatch.setenv("DATABASE_URL", url)
    assert load_settings().require_database_url() == url


def test_platform_hosts_point_to_the_sandbox_or_to_the_world_never_to_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A mixed environment could send a test's post to the real platform."""
    for name in PLATFORM_HOSTS[:-1]:
        monkeypatch.setenv(name.upper(), "http://127.0.0.1:8100/x")
    with pytest.raises(ConfigurationError, match="mixed"):
        load_settings()
    monkeypatch.setenv(PLATFORM_HOSTS[-1].upper(), "http://localhost:8100/x/")
    settings = load_settings()
    assert settings.platform_world == "sandbox"
    assert getattr(settings, PLATFORM_HOSTS[-1]) == "http://localhost:8100/x"


@pytest.mark.parametrize("name", HOSTS)
def test_a_host_must_be_a_url(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name.upper(), "open.example.org")
    with pytest.raises(ConfigurationError, match=name.upper()):
        load_settings()


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses in lower case: they are compared so."""
    monkeypatch.setenv("ADMIN_EMAILS", "Ada@Example.org, bob@example.org,,")
    monkeypatch.setenv("MINITIK_CONFIRM_LADDER", "1, 2.5,10")
    settings = load_settings()
    assert settings.admin_emails == {"ada@example.org", "bob@example.org"}
    assert settings.minitik_confirm_ladder == (1, 2.5, 10)


def test_a_missing_database_says_what_starts_one() -> None:
    with pytest.raises(ConfigurationError, match="minitik up"):
        load_settings().require_database_url()
