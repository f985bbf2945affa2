"""`minitik doctor` and `minitik incident` on a healthy and on broken systems, held to kept outputs.

A change of words shows in the files of tests/data/operations: write them anew with
`WRITE_GOLDEN=1 .venv/bin/python -m pytest tests/operations/test_doctor.py` and read the difference.
"""

import json
import os
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from pydantic import SecretStr

from minitik_dagster.accounts.vault import Vault
from minitik_dagster.db.engine import libpq_url, make_engine
from minitik_dagster.local.servers.sandbox import SandboxServer
from minitik_dagster.notifications.web_push import new_keys
from minitik_dagster.operations import doctor_stores
from minitik_dagster.operations.doctor import examine
from minitik_dagster.operations.doctor_variables import variables
from minitik_dagster.operations.findings import Finding, Level, as_lines, worst
from minitik_dagster.operations.incident import snapshot
from minitik_dagster.operations.incident_page import page
from minitik_dagster.operations.severity import propose
from minitik_dagster.publishing import quarantine
from minitik_dagster.settings import Settings, examine_environment
from tests.api.scene import Scene
from tests.cli.running import Command
from tests.operations.posts import post
from tests.operations.systems import KEY

GOLDEN = Path(__file__).parent.parent / "data" / "operations"
SECRET = "hidden-away-in-the-url"
# What differs from run to run, or with every migration and setting that is added.
_VOLATILE = (
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:PORT"),
    (re.compile(r"\b20\d\d-\d\d-\d\dT[\d:.]+Z"), "INSTANT"),
    (re.compile(r"\b00\d\d\b(: [^;\n]*)?"), "REVISION"),
    (re.compile(r"(REVISION; )*REVISION"), "REVISION"),
    (re.compile(r"\bc[0-9a-z]{24}\b"), "ID"),
    (re.compile(r"\b\d+ of \d+ variables"), "N of N variables"),
    (re.compile(r"Program \d+\.\d+\.\d+"), "Program VERSION"),
)
Break = Callable[[pytest.MonkeyPatch, Mapping[str, str]], None]


def _nothing(_patch: pytest.MonkeyPatch, _environment: Mapping[str, str]) -> None:
    """Leave it whole."""


def _postgresql_down(patch: pytest.MonkeyPatch, _environment: Mapping[str, str]) -> None:
    patch.setenv("DATABASE_URL", f"postgresql://ops:{SECRET}@127.0.0.1:1/minitik")


def _schema_behind(_patch: pytest.MonkeyPatch, environment: Mapping[str, str]) -> None:
    with psycopg.connect(libpq_url(environment["DATABASE_URL"])) as connection:
        connection.execute("UPDATE minitik_alembic_version SET version_num = '0004'")


def _key_lost(patch: pytest.MonkeyPatch, environment: Mapping[str, str]) -> None:
    sealed = Vault([bytes.fromhex(KEY)]).seal("a token")
    with psycopg.connect(libpq_url(environment["DATABASE_URL"])) as connection:
        connection.execute(
            'INSERT INTO users (id, email, "createdAt", "updatedAt") '
            "VALUES ('u', 'someone@example.test', now(), now())"
        )
        connection.execute(
            'INSERT INTO accounts (id, "userId", platform, "platformAccountId", "accessToken", '
            "status, \"connectedAt\") VALUES ('a', 'u', 'YOUTUBE', 'p', %s, 'CONNECTED', now())",
            [sealed],
        )
    patch.setenv("ENCRYPTION_KEY", "cd" * 32)


def _redis_and_mongodb_down(patch: pytest.MonkeyPatch, _environment: Mapping[str, str]) -> None:
    patch.setenv("REDIS_URL", f"redis://:{SECRET}@127.0.0.1:1/0")
    patch.setenv("MONGODB_URI", f"mongodb://ops:{SECRET}@127.0.0.1:1/?serverSelectionTimeoutMS=100")
    patch.setattr(doctor_stores, "_SECONDS", 0.2)


def _bucket_gone(patch: pytest.MonkeyPatch, _environment: Mapping[str, str]) -> None:
    patch.setenv("AWS_S3_BUCKET", "a-bucket-that-is-not-there")


def _variables_unfit(patch: pytest.MonkeyPatch, _environment: Mapping[str, str]) -> None:
    patch.setenv("ENCRYPTION_KEY", SECRET)
    patch.setenv("MINITIK_CLAIM_LIMIT", SECRET)
    patch.delenv("TIKTOK_CLIENT_SECRET")


def _platform_down(_patch: pytest.MonkeyPatch, environment: Mapping[str, str]) -> None:
    with redis.Redis.from_url(environment["REDIS_URL"]) as client:
        client.set("circuit_breaker:instagram:state", "OPEN")


def _old_queue_resumed(_patch: pytest.MonkeyPatch, environment: Mapping[str, str]) -> None:
    with psycopg.connect(libpq_url(environment["DATABASE_URL"])) as connection:
        connection.execute("INSERT INTO settings VALUES ('old-queue', '\"paused\"', now())")
    with redis.Redis.from_url(environment["REDIS_URL"]) as client:
        client.hset("bull:publish:meta", "opts.maxLenEvents", "10000")


def _restored(_patch: pytest.MonkeyPatch, environment: Mapping[str, str]) -> None:
    engine = make_engine(environment["DATABASE_URL"])
    scene = Scene(engine)
    person = scene.person()
    late = timedelta(minutes=-5)
    post(engine, scene, person, scene.account(person), due_in=late)
    now = datetime.now(UTC)
    with engine.begin() as connection:
        quarantine.declare(connection, quarantine.Span(now + 6 * late, now), actor="operator")
    scene.run("UPDATE accounts SET \"accessToken\" = ''")
    scene.run("DELETE FROM audit_log")
    engine.dispose()


SYSTEMS: dict[str, tuple[Break, Level, str]] = {
    "healthy": (_nothing, Level.YELLOW, "P4"),
    "postgresql-down": (_postgresql_down, Level.RED, "P1"),
    "schema-behind": (_schema_behind, Level.RED, "P1"),
    "key-lost": (_key_lost, Level.RED, "P1"),
    "redis-and-mongodb-down": (_redis_and_mongodb_down, Level.RED, "P2"),
    "bucket-gone": (_bucket_gone, Level.RED, "P2"),
    "variables-unfit": (_variables_unfit, Level.RED, "P1"),
    "platform-down": (_platform_down, Level.YELLOW, "P2"),
    "old-queue-resumed": (_old_queue_resumed, Level.RED, "P2"),
    "restored": (_restored, Level.RED, "P2"),
}


@pytest.fixture
def minitik(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    """The command line, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return Command(monkeypatch, capsys)


def _stable(text: str) -> str:
    for pattern, replacement in _VOLATILE:
        text = pattern.sub(replacement, text)
    return text


def _held(name: str, text: str) -> None:
    file = GOLDEN / name
    if os.environ.get("WRITE_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    assert text == file.read_text(), f"{name} differs; see this module's text"


@pytest.mark.parametrize("system", SYSTEMS)
def test_what_is_wrong_is_said_with_its_fix_and_its_severity(
    system: str, environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worst first, each with its fix; the incident's page proposes the level; no secret is shown."""
    breaks, worst_level, severity = SYSTEMS[system]
    breaks(monkeypatch, environment)
    settings, problems = examine_environment()
    found = examine(settings, problems)
    facts = snapshot(settings, found)
    doctor = "\n".join(as_lines(found, everything=True)) + "\n"
    incident = page(facts)

    assert worst(found) == worst_level
    assert all(item.fix for item in found if item.level is not Level.GREEN)
    assert facts["severity"]["level"] == severity
    for secret in (SECRET, environment["NEXTAUTH_SECRET"], KEY, "someone@example.test"):
        assert secret not in doctor + incident + json.dumps(facts)
    _held(f"doctor-{system}.txt", _stable(doctor))
    _held(f"incident-{system}.md", _stable(incident))


def test_the_commands_end_by_what_they_found(
    environment: Mapping[str, str],
    minitik: Command,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Doctor exits 1 on red alone; an incident's files are the operator's alone."""
    monkeypatch.setenv("AWS_S3_BUCKET", "a-bucket-that-is-not-there")
    said = minitik("doctor")
    assert (said.code, said.err) == (1, "")
    assert said.out.startswith("red     s3: ")
    taken = minitik.good("incident", "--out", str(tmp_path / "out")).out
    assert "P2: Partial outage; respond: < 1 hour" in taken
    files = sorted((tmp_path / "out").iterdir())
    assert [file.suffix for file in files] == [".json", ".md"]
    assert all(file.stat().st_mode & 0o077 == 0 for file in files)
    assert json.loads(files[0].read_text())["severity"]["level"] == "P2"


def test_the_json_has_a_level_for_programs(
    environment: Mapping[str, str], minitik: Command
) -> None:
    said = minitik.good("doctor", "--json").data
    assert said["level"] in {"green", "yellow"}
    checks = {item["check"]: item for item in said["checks"]}
    assert checks["schema"]["level"] == "green"
    assert set(checks["postgresql"]) == {"check", "level", "detail", "fix"}


def test_a_secret_that_the_platform_refuses_is_found_by_a_harmless_call(
    environment: Mapping[str, str], minitik: Command, sandbox: SandboxServer
) -> None:
    sandbox.set_limits(youtube={"clientSecret": "another"}, tiktok={"clientSecret": "another"})
    said = minitik("doctor", "--json").data
    levels = {item["check"]: item["level"] for item in said["checks"]}
    assert (levels["app youtube"], levels["app tiktok"]) == ("red", "red")
    assert levels["app instagram"] == "green"


def test_an_address_that_alerts_cannot_be_sent_to_is_told_by_its_number() -> None:
    """It would page nobody, and nobody would know; its text holds a credential."""
    urls = SecretStr("json://127.0.0.1/hook nonsense://hunter2")
    [told] = [
        item
        for item in variables(Settings(minitik_alert_urls=urls), {})
        if item.check == "alert targets"
    ]
    assert (told.level, "number 2 of 2" in told.detail) == ("red", True)
    assert "hunter2" not in told.detail + told.fix
    well = variables(Settings(minitik_alert_urls=SecretStr("json://127.0.0.1/hook")), {})
    assert "green" in {item.level for item in well if item.check == "alert targets"}


@pytest.mark.parametrize(
    ("change", "level", "words"),
    [
        ({}, "green", "are a pair"),
        ({"vapid_public_key": new_keys()[0]}, "red", "refuse every message"),
        ({"vapid_subject": None}, "yellow", "VAPID_SUBJECT not set"),
    ],
)
def test_web_push_needs_a_pair_of_keys_and_somebody_to_write_to(
    change: Mapping[str, Any], level: str, words: str
) -> None:
    """Another pair would look fine here and reach nobody."""
    public, private = new_keys()
    whole = Settings(
        vapid_public_key=public,
        vapid_private_key=SecretStr(private),
        vapid_subject="mailto:ops@example.test",
    )
    found = variables(whole.model_copy(update=dict(change)), {})
    [told] = [item for item in found if item.check == "web push"]
    assert (told.level, words in told.detail) == (level, True)


_SERIES = {"timeField": "timestamp", "metaField": "metadata", "granularity": "hours"}


@pytest.mark.parametrize(
    ("found", "level", "words"),
    [
        (None, "green", "is not there yet"),
        ({"type": "collection", "options": {}}, "red", "plain collection"),
        (
            {"type": "timeseries", "options": {"timeseries": _SERIES, "expireAfterSeconds": 9}},
            "yellow",
            "collMod",
        ),
        (
            {"type": "timeseries", "options": {"timeseries": {**_SERIES, "metaField": "m"}}},
            "red",
            "metaField m",
        ),
        (
            {
                "type": "timeseries",
                "options": {"timeseries": _SERIES, "expireAfterSeconds": 31_536_000},
            },
            "green",
            "12 months",
        ),
    ],
)
def test_the_analytics_collection_is_judged_as_mongodb_tells_it(
    found: Mapping[str, Any] | None, level: str, words: str
) -> None:
    """The embedded server does not tell options: the answers of a real one are judged here."""
    judged = doctor_stores.judge_collection(found, tells=True)
    assert judged.level == level
    assert words in f"{judged.detail} {judged.fix}"


def test_all_breakers_open_is_a_full_outage() -> None:
    """One platform is P2, all three are P1; a critical alert alone is P2."""
    breakers = [
        Finding(f"breaker {name}", Level.YELLOW, "is OPEN")
        for name in ("tiktok", "instagram", "youtube")
    ]
    assert propose(breakers[:1], []).level == "P2"
    assert propose(breakers, []).level == "P1"
    assert propose([], [{"key": "k", "level": "critical", "message": "m"}]).level == "P2"
    assert propose([], []).level == "none"


def test_degraded_and_minor_are_told_apart() -> None:
    """What slows publishing is P3, what does not is P4; each with its response time."""
    slow = propose(
        [Finding("queries", Level.YELLOW, "2 have run for more than 30 seconds", "f")], []
    )
    minor = propose([Finding("old queue", Level.YELLOW, "3 jobs are not taken over", "f")], [])
    assert (slow.level, slow.response) == ("P3", "< 4 hours")
    assert (minor.level, minor.response) == ("P4", "next business day")
    assert propose([], [{"key": "k", "level": "warning", "message": "m"}]).level == "P3"
