"""Dagster's real webserver behind our entry, as a process of its own."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from minitik_dagster.local.ports import free_port
from minitik_dagster.local.process import ChildProcess

Start = Callable[..., str]


@pytest.fixture(scope="module")
def start_webserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start `uvicorn minitik_dagster.webserver.app:<factory>`; the answer is its address.

    Its DAGSTER_HOME has a storage of its own in files, and a workspace whose code server does not answer.
    """
    home = tmp_path_factory.mktemp("dagster-home")
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    (home / "workspace.yaml").write_text(
        f"load_from: [{{grpc_server: {{host: 127.0.0.1, port: {free_port()}}}}}]\n"
    )
    children: list[ChildProcess] = []

    def start(factory: str, **environment: str) -> str:
        port = free_port()
        child = ChildProcess(
            factory,
            [
                *(sys.executable, "-m", "uvicorn", f"minitik_dagster.webserver.app:{factory}"),
                *("--factory", "--port", str(port), "--no-proxy-headers"),
            ],
            log=Path(home) / f"{factory}.log",
            env=os.environ | {"DAGSTER_HOME": str(home)} | environment,
            cwd=home,
            grace_seconds=15.0,
        )
        child.start()
        children.append(child)
        address = f"http://127.0.0.1:{port}"

        def answers() -> bool:
            try:
                return httpx.get(f"{address}/server_info", trust_env=False).status_code == 200
            except httpx.TransportError:
                return False

        child.wait_until(answers, timeout_seconds=60.0)
        return address

    yield start
    for child in children:
        child.stop()
