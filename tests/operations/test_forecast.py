"""The forecast says what will not make it, with the reason, and tells each owner once."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta

import pytest
import redis
from dagster import materialize

from minitik_dagster.assets.forecast import everything_due_will_go_out
from minitik_dagster.assets.forecast import forecast as forecast_asset
from minitik_dagster.db.types import Platform
from minitik_dagster.local.servers.sandbox import SandboxServer
from minitik_dagster.local.workbench import Workbench
from minitik_dagster.operations.forecast import Forecast, forecast
from minitik_dagster.operations.forecast_notices import tell
from minitik_dagster.resources.database import DatabaseResource
from minitik_dagster.resources.settings import SettingsResource
from minitik_dagster.settings import Settings
from tests.api.scene import VERTICAL, Scene
from tests.cli.running import Command

_CONTENTS = 'SELECT id, "contentId" AS content FROM publications'
YOUTUBE, TIKTOK, INSTAGRAM = Platform.YOUTUBE, Platform.TIKTOK, Platform.INSTAGRAM


@pytest.fixture
def bench(environment: Mapping[str, str], sandbox: SandboxServer) -> Iterator[Workbench]:
    bench = Workbench(Settings(), sandbox)
    yield bench
    bench.close()


def _post(
    bench: Workbench, platform: Platform, account: str, *, hours: float = 3, **how: object
) -> str:
    video = bench.add_video(2_000)
    options = {str(name): value for name, value in how.items()}
    due = bench.now() + timedelta(hours=hours)
    [publication] = bench.schedule(video, [(account, platform)], due, options=options)
    return publication


def _codes(found: Forecast) -> dict[str, set[tuple[str, bool]]]:
    codes: dict[str, set[tuple[str, bool]]] = {}
    for risk in found.risks:
        codes.setdefault(risk.publication_id, set()).add((risk.code, risk.certain))
    return codes


def test_each_reason_is_found_and_what_is_well_has_none(
    bench: Workbench, environment: Mapping[str, str]
) -> None:
    """Rows, bucket, platform, breaker and pause; what is due after the horizon is not looked at."""
    scene = Scene(bench.engine)
    youtube, gone, narrow = (bench.add_account(YOUTUBE) for _ in range(3))
    tiktok = bench.add_account(TIKTOK, private=True)
    well = _post(bench, YOUTUBE, youtube)
    _post(bench, YOUTUBE, gone, hours=25)
    expired = _post(bench, YOUTUBE, gone)
    scoped = _post(bench, YOUTUBE, narrow)
    private = _post(bench, TIKTOK, tiktok)
    deleted, unfinished, lost, wrong, soon = (_post(bench, YOUTUBE, youtube) for _ in range(5))
    scene.run("UPDATE accounts SET status = 'EXPIRED' WHERE id = :id", id=gone)
    scene.run(
        'UPDATE accounts SET metadata = \'{"scopes": ["youtube.readonly"]}\' WHERE id = :id',
        id=narrow,
    )
    content = {row["id"]: row["content"] for row in scene.rows(_CONTENTS)}
    scene.run('UPDATE contents SET "deletedAt" = now() WHERE id = :id', id=content[deleted])
    scene.run('UPDATE contents SET "filePath" = NULL WHERE id = :id', id=content[unfinished])
    scene.run("UPDATE contents SET \"filePath\" = 'content/a/b/c' WHERE id = :id", id=content[lost])
    scene.run(
        "UPDATE contents SET metadata = CAST(:facts AS jsonb) WHERE id = :id",
        facts=json.dumps(replace(VERTICAL, duration=13 * 3600.0).to_metadata()),
        id=content[wrong],
    )
    scene.run(
        "UPDATE publications SET \"dueAt\" = (statement_timestamp() AT TIME ZONE 'UTC') "
        "+ interval '5 minutes' WHERE id = :id",
        id=soon,
    )
    with redis.Redis.from_url(environment["REDIS_URL"]) as client:
        client.set("circuit_breaker:youtube:state", "OPEN")

    found = forecast(bench.engine, bench.settings)

    codes = _codes(found)
    assert well not in codes
    assert codes == {
        expired: {("account", True)},
        scoped: {("scopes", True)},
        private: {("platform", True)},
        deleted: {("content_gone", True)},
        unfinished: {("not_uploaded", True)},
        lost: {("media", True)},
        wrong: {("media_rejected", True)},
        soon: {("breaker", False)},
    }
    assert found.checked == 9
    assert found.failing == set(codes) - {soon}
    assert all(risk.fix for risk in found.risks)


def test_more_posts_than_the_budget_allows_are_late(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last of a window; certain where the next window comes after its maxLateness."""
    account = bench.add_account(INSTAGRAM)
    settings = bench.settings.model_copy(update={"minitik_limits": {"instagram.posts": 2}})
    hour = bench.now().replace(minute=0, second=0, microsecond=0) + timedelta(hours=3)
    video = bench.add_video(2_000)
    ids = bench.schedule_many(
        [(video, [(account, INSTAGRAM)], hour + timedelta(minutes=n)) for n in range(3)],
        max_lateness=60,
    )
    found = forecast(bench.engine, settings)
    assert _codes(found) == {ids[2]: {("budget", True)}}
    assert "late by up to 58 minutes" in found.risks[0].message


def test_owners_are_told_once_and_again_after_a_move(bench: Workbench) -> None:
    account = bench.add_account(YOUTUBE)
    publication = _post(bench, YOUTUBE, account)
    scene = Scene(bench.engine)
    scene.run("UPDATE accounts SET status = 'REVOKED'")

    def told() -> int:
        found = forecast(bench.engine, bench.settings)
        with bench.engine.begin() as connection:
            return tell(connection, found)

    assert [told(), told()] == [1, 0]
    scene.run('UPDATE publications SET "dueAt" = "dueAt" + interval \'1 hour\'')
    assert told() == 1
    rows = scene.rows("SELECT payload FROM outbox WHERE kind = 'publication.at_risk'")
    assert {row["payload"]["publicationId"] for row in rows} == {publication}
    assert {row["payload"]["userId"] for row in rows} == {bench.user_id}


def test_the_asset_shows_it_and_its_check_fails(bench: Workbench) -> None:
    """A materialization by Dagster itself; the alert reads what it kept."""
    account = bench.add_account(YOUTUBE)
    publication = _post(bench, YOUTUBE, account)
    Scene(bench.engine).run("UPDATE accounts SET status = 'REVOKED'")
    done = materialize(
        [forecast_asset, everything_due_will_go_out],
        resources={"settings": SettingsResource(), "database": DatabaseResource()},
    )
    [check] = done.get_asset_check_evaluations()
    assert not check.passed
    assert check.metadata["publications"].value == [publication]
    [event] = done.asset_materializations_for_node("forecast")
    assert publication in str(event.metadata["risks"].value)


def test_the_command_ends_with_1_when_a_post_will_not_make_it(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    minitik = Command(monkeypatch, capsys)
    account = bench.add_account(YOUTUBE)
    publication = _post(bench, YOUTUBE, account)
    assert minitik.good("forecast").out.endswith("1 posts looked at, 0 will not make it\n")
    Scene(bench.engine).run("UPDATE accounts SET status = 'REVOKED'")
    said = minitik("forecast", "--json")
    assert said.code == 1
    assert said.data["failing"] == [publication]
