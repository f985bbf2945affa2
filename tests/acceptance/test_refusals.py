"""What `minitik up` refuses, it refuses in one clear line, at once, with nothing left running."""

import subprocess
from pathlib import Path

import pytest

from minitik_dagster.local.servers.s3 import S3Server

from .stack import clean_environment, up_arguments


def refusal(arguments: list[str], **environment: str) -> str:
    """Run `up`, expect a refusal, return its line."""
    result = subprocess.run(
        arguments,
        capture_output=True,
        text=True,
        env=clean_environment() | environment,
        timeout=60,
        check=False,
    )
    assert result.returncode == 1, result.stdout + result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    return lines[0]


@pytest.mark.parametrize(
    "option",
    [
        "port",
        *(pytest.param(one, marks=pytest.mark.slow) for one in ("dagster_port", "sandbox_port")),
    ],
)
def test_a_taken_port_is_named_with_the_option_that_changes_it(
    option: str, servers_folder: Path, tmp_path: Path
) -> None:
    """Nothing is started when a port is taken that a person asked for."""
    with S3Server(servers_folder / f"holds-{option}") as holder:
        line = refusal(up_arguments(tmp_path / "data", **{option: holder.port}))
    assert str(holder.port) in line
    assert f"--{option.replace('_', '-')}" in line
    assert not (tmp_path / "data" / "endpoints.json").exists()
    assert not (tmp_path / "data" / "postgres").exists()


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    """A folder that cannot be used is named, with the option that changes it."""
    (tmp_path / "data").write_text("in the way")
    line = refusal(up_arguments(tmp_path / "data"))
    assert str(tmp_path / "data") in line
    assert "--data-dir" in line


def test_a_bad_environment_is_named_before_anything_starts(tmp_path: Path) -> None:
    """A malformed key is refused with the way to make a good one; its value is not shown."""
    line = refusal(up_arguments(tmp_path / "data"), ENCRYPTION_KEY="not-a-key")
    assert "ENCRYPTION_KEY must be 32 bytes" in line
    assert "not-a-key" not in line
    assert not (tmp_path / "data" / "postgres").exists()


def test_a_database_of_the_operators_is_never_migrated(
    tmp_path: Path, empty_database_url: str
) -> None:
    """A configured database without our schema is refused with the command that upgrades it."""
    line = refusal(up_arguments(tmp_path / "data"), DATABASE_URL=empty_database_url)
    assert "minitik db upgrade" in line
