"""The sandbox as the fixtures offer it: a process with controls, clean for each test."""

from minitik_dagster.local.servers.sandbox import SandboxServer


def test_an_account_can_be_made_and_a_reset_forgets_faults_and_calls(
    sandbox: SandboxServer,
) -> None:
    """What one test sets must not reach the next one."""
    account = sandbox.create_account("tiktok")
    assert account["accessToken"]
    sandbox.add_fault(platform="tiktok", operation="init", kind="status", count=1, status=500)
    assert sandbox.call("GET", "/_sandbox/faults")["faults"]
    sandbox.reset()
    assert sandbox.call("GET", "/_sandbox/faults")["faults"] == []
    assert sandbox.calls() == []


def test_its_environment_points_every_platform_at_it(sandbox: SandboxServer) -> None:
    """No platform host is left to its real default."""
    hosts = [value for name, value in sandbox.environment.items() if name.endswith("_BASE_URL")]
    assert len(hosts) == 9
    assert all(host.startswith(sandbox.url) for host in hosts)
