"""The engine's health in SQL, and as asset checks in one run of Dagster."""

from datetime import timedelta
from typing import Any

import pytest
from dagster import AssetCheckSeverity, DagsterInstance
from sqlalchemy import text

from minitik_dagster.db.found import Found
from minitik_dagster.db.types import Platform
from minitik_dagster.definitions import defs
from minitik_dagster.local.workbench import Workbench
from minitik_dagster.publishing import health


@pytest.fixture
def publication(workbench: Workbench) -> str:
    """One that is due tomorrow."""
    account = workbench.add_account(Platform.YOUTUBE)
    due_at = workbench.now() + timedelta(days=1)
    (made,) = workbench.schedule(workbench.add_video(2_000), [(account, Platform.YOUTUBE)], due_at)
    return made


def _run(bench: Workbench, statement: str, **values: Any) -> None:
    with bench.engine.begin() as connection:
        connection.execute(text(statement), values)


def _ask(bench: Workbench, question: Any) -> tuple[str, ...]:
    with bench.engine.begin() as connection:
        found: Found = question(connection)
    assert bool(found) is (found.total > 0)
    return found.ids


_STEP = """
INSERT INTO publication_steps (id, "publicationId", "accountId", platform, name, attempt,
    "canPublish", "leaseToken", revision, "startedAt", "policyVersion")
SELECT :step, p.id, p."accountId", p.platform, 'step', 1, :commit, 1, 0,
    (statement_timestamp() AT TIME ZONE 'UTC') - CAST(:ago AS interval), 'test'
FROM publications p
"""


def test_a_healthy_queue_names_nothing(workbench: Workbench, publication: str) -> None:
    for question in (health.overdue, health.double_posts, health.unknown_long, health.stuck):
        assert _ask(workbench, question) == ()


def test_what_was_due_and_is_put_off_by_nothing_is_overdue(
    workbench: Workbench, publication: str
) -> None:
    """A retry that waits is no miss; a wake that was reached and passed is one."""
    _run(workbench, "UPDATE publications SET \"dueAt\" = \"dueAt\" - interval '25 hours', "
                    "\"prepareAt\" = \"prepareAt\" - interval '25 hours'")  # fmt: skip
    assert _ask(workbench, health.overdue) == (publication,)
    _run(workbench, 'UPDATE publications SET "nextAttemptAt" = '
                    "(statement_timestamp() AT TIME ZONE 'UTC') + interval '1 minute'")  # fmt: skip
    assert _ask(workbench, health.overdue) == ()


def test_two_public_ids_or_two_used_handles_are_a_double_post(
    workbench: Workbench, publication: str
) -> None:
    """TikTok may give several ids for one handle; the others may not."""
    insert = (
        'INSERT INTO posts (id, "publicationId", "accountId", platform, "platformPostId", via, '
        '"foundAt") SELECT n, p.id, p."accountId", p.platform, n, \'commit\', p."createdAt" '
        "FROM publications p, (VALUES ('a'), ('b')) AS v(n)"
    )
    _run(workbench, insert)
    assert _ask(workbench, health.double_posts) == (publication,)
    _run(workbench, "UPDATE posts SET platform = 'TIKTOK'")
    assert _ask(workbench, health.double_posts) == ()
    _run(
        workbench,
        'INSERT INTO handles (id, "publicationId", "accountId", platform, state, revision, '
        'progress, "createdAt", "updatedAt") SELECT n, p.id, p."accountId", p.platform, \'used\', '
        '0, \'{}\', p."createdAt", p."createdAt" FROM publications p, '
        "(VALUES ('a'), ('b')) AS v(n)",
    )
    assert _ask(workbench, health.double_posts) == (publication,)


def test_an_hour_of_not_knowing_is_named(workbench: Workbench, publication: str) -> None:
    _run(workbench, "UPDATE publications SET stage = 'unknown'")
    _run(workbench, _STEP, step="s", commit=True, ago=timedelta(minutes=59))
    assert _ask(workbench, health.unknown_long) == ()
    _run(workbench, 'UPDATE publication_steps SET "startedAt" = "startedAt" - interval \'2 m\'')
    assert _ask(workbench, health.unknown_long) == (publication,)


def test_a_lease_that_nobody_takes_over_is_stuck(workbench: Workbench, publication: str) -> None:
    _run(workbench, "UPDATE publications SET \"leaseOwner\" = 'gone', \"leaseExpiresAt\" = "
                    "(statement_timestamp() AT TIME ZONE 'UTC') - interval '6 minutes'")  # fmt: skip
    assert _ask(workbench, health.stuck) == (publication,)


def test_a_preparation_that_does_not_end_is_stuck(workbench: Workbench, publication: str) -> None:
    _run(workbench, "UPDATE publications SET stage = 'preparing'")
    _run(workbench, _STEP, step="s", commit=False, ago=timedelta(hours=3))
    assert _ask(workbench, health.stuck) == (publication,)


def test_the_checks_of_one_run_name_what_is_wrong(workbench: Workbench, publication: str) -> None:
    """All four are asked; a miss is an error with the publication's id."""
    _run(workbench, "UPDATE publications SET \"dueAt\" = \"dueAt\" - interval '25 hours', "
                    "\"prepareAt\" = \"prepareAt\" - interval '25 hours'")  # fmt: skip
    with DagsterInstance.ephemeral() as instance:
        done = defs.resolve_job_def("check_publications").execute_in_process(instance=instance)
    results = {item.check_name: item for item in done.get_asset_check_evaluations()}
    assert {name: item.passed for name, item in results.items()} == {
        "nothing_overdue": False,
        "no_double_post": True,
        "nothing_unknown": True,
        "nothing_stuck": True,
    }
    overdue = results["nothing_overdue"]
    assert overdue.severity is AssetCheckSeverity.ERROR
    assert publication in str(overdue.metadata["ids"].value)
