"""Whether the parts of the stack answer, asked over loopback HTTP."""

import http.client
import json
from typing import Any

from minitik_dagster.local.ports import LOOPBACK

_DAEMONS_NEEDED = frozenset({"SENSOR", "SCHEDULER", "QUEUED_RUN_COORDINATOR"})
_QUERY = """{
  instance { daemonHealth { allDaemonStatuses { daemonType healthy lastHeartbeatTime } } }
  workspaceOrError { ... on Workspace { locationEntries {
    name loadStatus locationOrLoadError { __typename ... on PythonError { message } } } } }
}"""


def ask(port: int, method: str, path: str, body: object = None) -> tuple[int, bytes] | None:
    """One request to a loopback server: (status, body), or None when it does not answer."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
    try:
        payload = None if body is None else json.dumps(body)
        headers = {} if payload is None else {"Content-Type": "application/json"}
        connection.request(method, path, body=payload, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def answers_ok(port: int, path: str) -> bool:
    """Whether a GET of the path is answered with 200."""
    answer = ask(port, "GET", path)
    return answer is not None and answer[0] == 200


def dagster_state(webserver_port: int) -> dict[str, Any] | None:
    """Daemons and code locations as the webserver sees them; None when it does not answer."""
    answer = ask(webserver_port, "POST", "/graphql", {"query": _QUERY})
    if answer is None or answer[0] != 200:
        return None
    data = json.loads(answer[1]).get("data")
    return data if isinstance(data, dict) else None


def daemons_beat_since(state: dict[str, Any] | None, since_epoch_seconds: float) -> bool:
    """Whether every daemon that publishing needs has shown a heartbeat after the instant given."""
    if state is None:
        return False
    statuses = state["instance"]["daemonHealth"]["allDaemonStatuses"]
    beating = {
        status["daemonType"]
        for status in statuses
        if (status["lastHeartbeatTime"] or 0.0) >= since_epoch_seconds
    }
    return beating >= _DAEMONS_NEEDED


def location_is_loaded(state: dict[str, Any] | None) -> bool:
    """Whether the webserver has loaded our code location without an error."""
    if state is None:
        return False
    entries = state["workspaceOrError"].get("locationEntries") or []
    return any(
        (entry["locationOrLoadError"] or {}).get("__typename") == "RepositoryLocation"
        for entry in entries
    )
