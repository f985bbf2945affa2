"""The questions about the accounts' probes, and the asset that shows them."""

from dagster import materialize

from minitik_dagster.accounts import probe_health
from minitik_dagster.assets.account_health import account_health, account_health_checks
from minitik_dagster.db.types import AccountStatus, Platform
from minitik_dagster.resources.database import DatabaseResource
from minitik_dagster.resources.settings import SettingsResource
from tests.accounts.probe_runs import HOUR, OURS, checks, now
from tests.accounts.scene import AccountScene


def test_the_check_finds_who_was_not_asked_for_a_day_and_two_hours(scene: AccountScene) -> None:
    """Never asked counts from the connection; a disconnected account is nobody's."""
    late = scene.account(Platform.TIKTOK, probed_at=now() - 27 * HOUR)
    scene.account(Platform.TIKTOK, probed_at=now() - 25 * HOUR)
    scene.account(Platform.TIKTOK, connected_at=now())
    never = scene.account(Platform.TIKTOK)
    scene.account(Platform.TIKTOK, probed_at=now() - 99 * HOUR, status=AccountStatus.REVOKED)
    assert checks(scene) == ([never, late], [])
    with scene.engine.connect() as connection:
        table = probe_health.probe_table(connection)
    assert f"| {never} | tiktok | CONNECTED | - | - |" in table


def test_the_asset_shows_each_account_and_its_checks_find_what_is_wrong(
    scene: AccountScene,
) -> None:
    """A table of ids and outcomes; no name, no token."""
    well = scene.account(Platform.TIKTOK)
    bad = scene.account(Platform.YOUTUBE, platform_account_id="mine", **OURS)
    done = materialize(
        [account_health, account_health_checks],
        resources={"settings": SettingsResource(), "database": DatabaseResource()},
    )
    [event] = done.asset_materializations_for_node("account_health")
    told = {name: value.value for name, value in event.metadata.items()}
    assert (told["due"], told["ok"], told["problems"]) == (2, 1, 1)
    table = str(told["accounts"]).splitlines()
    assert table[2].startswith(f"| {bad} | youtube | ERROR | ")
    assert table[2].endswith(" | other_identity |")
    assert table[3].startswith(f"| {well} | tiktok | CONNECTED | ")
    shown = str(told)
    for hidden in (*scene.tokens(well), scene.row(well).platform_username):
        assert str(hidden) not in shown
    assert {check.check_name: check.passed for check in done.get_asset_check_evaluations()} == {
        "accounts_probed_daily": True, "no_account_out_of_order": False,
    }  # fmt: skip
