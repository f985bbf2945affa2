"""deploy/kubernetes: manifests and values, held to Kubernetes' own schemas and to Dagster's own checks."""

import json
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from dagster._config import process_config
from dagster._core.instance.config import dagster_instance_config_schema
from dagster._core.run_coordinator.queued_run_coordinator import QueuedRunCoordinator
from dagster_k8s import K8sRunLauncher
from jsonschema import Draft202012Validator

from minitik_dagster.settings import Settings
from tests.test_deploy import PROGRAMS, command_of_unit

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "deploy" / "kubernetes"
# The oldest and the newest release whose schemas the validator has and that are still supported.
RELEASES = ("1.34", "1.37")
MANIFESTS: list[dict[str, Any]] = [
    document
    for path in sorted((FOLDER / "manifests").glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
]
WORKLOADS = [document for document in MANIFESTS if "template" in document["spec"]]


def _name(document: dict[str, Any]) -> str:
    return f"{document['metadata']['name']}-{document['kind']}"


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / "values.yaml").read_text())
    return found


def _validate(document: dict[str, Any]) -> None:
    for release in RELEASES:
        kubernetes_validate.validate(document, release, strict=True)


@pytest.mark.parametrize("document", MANIFESTS, ids=_name)
def test_every_manifest_is_what_kubernetes_takes(document: dict[str, Any]) -> None:
    """Strictly: no field that the release does not know."""
    _validate(document)


@pytest.mark.parametrize("document", WORKLOADS, ids=_name)
def test_every_program_runs_unprivileged_and_with_the_deployments_own_arguments(
    document: dict[str, Any],
) -> None:
    """The same programs as under systemd and Compose, as a user of their own, on a read-only root."""
    pod = document["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["envFrom"] == [{"secretRef": {"name": "minitik-environment"}}]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}
    assert container["command"] == command_of_unit(container["name"], host="0.0.0.0")  # noqa: S104
    selector = document["spec"].get("selector", {}).get("matchLabels")
    if selector is not None:
        assert selector == document["spec"]["template"]["metadata"]["labels"]


@pytest.mark.parametrize("document", WORKLOADS, ids=_name)
def test_a_probe_calls_a_name_that_is_served(document: dict[str, Any]) -> None:
    """A probe's own Host is the pod's address, which the Host list refuses."""
    [container] = document["spec"]["template"]["spec"]["containers"]
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        if "httpGet" in container.get(kind, {}):
            [header] = container[kind]["httpGet"]["httpHeaders"]
            assert header["name"] == "Host"
            assert header["value"] in Settings().allowed_hosts()


def test_the_api_ends_within_its_grace_after_the_service_let_go_of_it() -> None:
    """What still arrives while the pod is being taken out is answered; then running requests end."""
    [pod] = [
        document["spec"]["template"]["spec"]
        for document in WORKLOADS
        if document["metadata"]["name"] == "minitik-api"
    ]
    [container] = pod["containers"]
    _, pause = container["lifecycle"]["preStop"]["exec"]["command"]
    command = container["command"]
    ending = int(command[command.index("--timeout-graceful-shutdown") + 1])
    assert 0 < int(pause) + ending < pod["terminationGracePeriodSeconds"]
    # Until it is up nothing counts its failures: a slow node must not kill it at its start.
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 60


def test_only_the_proxy_reaches_the_web_ui() -> None:
    """It has no authentication of its own; a pod can call it by any name."""
    [policy] = [document for document in MANIFESTS if document["kind"] == "NetworkPolicy"]
    [rule] = policy["spec"]["ingress"]
    [peer] = rule["from"]
    assert set(peer) == {"namespaceSelector", "podSelector"}


def test_the_values_are_of_the_charts_names_and_types(values: dict[str, Any]) -> None:
    """By a strict schema of the part of the chart that is used: a misspelt value would do nothing."""
    schema = json.loads((ROOT / "tests" / "data" / "dagster-helm-values.json").read_text())
    Draft202012Validator.check_schema(schema)
    problems = [error.message for error in Draft202012Validator(schema).iter_errors(values)]
    assert problems == []
    values["dagsterWebserver"]["replicaCounts"] = 1
    assert list(Draft202012Validator(schema).iter_errors(values))
    del values["dagsterWebserver"]["replicaCounts"]


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def test_dagster_takes_the_instance_that_the_chart_renders(values: dict[str, Any]) -> None:
    """dagster.yaml as the chart writes it, by Dagster's own schema; the launcher and the queue by theirs."""
    daemon = values["dagsterDaemon"]
    rendered = {
        "telemetry": {"enabled": values["telemetry"]["enabled"]},
        "retention": {
            name: {"purge_after_days": values["retention"][name]["purgeAfterDays"]}
            for name in ("sensor", "schedule")
        },
        "run_monitoring": {_snake(name): value for name, value in daemon["runMonitoring"].items()},
        "sensors": {_snake(name): value for name, value in daemon["sensors"].items()},
        "schedules": {_snake(name): value for name, value in daemon["schedules"].items()},
    }
    told = process_config(dagster_instance_config_schema(), rendered)
    assert told.success, told.errors
    queue = daemon["runCoordinator"]["config"]["queuedRunCoordinator"]
    told = process_config(
        QueuedRunCoordinator.config_type(), {_snake(key): value for key, value in queue.items()}
    )
    assert told.success, told.errors
    launcher = values["runLauncher"]["config"]["k8sRunLauncher"]
    told = process_config(
        K8sRunLauncher.config_type(),  # type: ignore[no-untyped-call]
        {
            "image_pull_policy": launcher["imagePullPolicy"],
            "env_secrets": [secret["name"] for secret in launcher["envSecrets"]],
            "run_k8s_config": {
                _snake(name): value for name, value in launcher["runK8sConfig"].items()
            },
            "instance_config_map": "dagster-instance",
            "dagster_home": "/opt/dagster/dagster_home",
            "service_account_name": "dagster",
        },
    )
    assert told.success, told.errors


def test_a_runs_job_is_what_kubernetes_takes(values: dict[str, Any]) -> None:
    """The raw pieces that the launcher hands on; and Kubernetes never starts a run a second time."""
    config = values["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]
    container = {"name": "dagster", "image": "minitik"} | config["containerConfig"]
    pod = {"restartPolicy": "Never", "containers": [container]} | config["podSpecConfig"]
    job = {"template": {"spec": pod}} | config["jobSpecConfig"]
    _validate({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "run"}, "spec": job})
    assert job["backoffLimit"] == 0


def test_the_charts_bounds_are_those_of_the_instance_elsewhere(values: dict[str, Any]) -> None:
    """deploy/kubernetes has no dagster.yaml of its own: what it sets must not drift from the root's."""
    own = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    daemon = values["dagsterDaemon"]
    watched = {_snake(name): value for name, value in daemon["runMonitoring"].items()}
    assert watched == {key: own["run_monitoring"][key] for key in watched}
    assert (
        values["retention"]["sensor"]["purgeAfterDays"]
        == (own["retention"]["sensor"]["purge_after_days"])
    )
    limits = values["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]["jobSpecConfig"]
    assert limits["activeDeadlineSeconds"] == own["run_monitoring"]["max_runtime_seconds"]
    queue = daemon["runCoordinator"]["config"]["queuedRunCoordinator"]
    own_queue = own["run_coordinator"]["config"]
    assert queue["tagConcurrencyLimits"] == own_queue["tag_concurrency_limits"]
    assert values["dagsterWebserver"]["replicaCount"] == 0


def test_every_program_has_its_place_in_the_cluster(values: dict[str, Any]) -> None:
    """By the chart or by a manifest."""
    by_manifest = {
        document["spec"]["template"]["spec"]["containers"][0]["name"] for document in WORKLOADS
    }
    by_chart = {"daemon"} if values["dagsterDaemon"]["enabled"] else set()
    by_chart |= {"code-server"} if values["dagster-user-deployments"]["deployments"] else set()
    assert by_manifest | by_chart == {*PROGRAMS, "migrate"}
