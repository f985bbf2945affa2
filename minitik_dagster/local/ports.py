"""Free TCP ports on loopback."""

import random
import socket

LOOPBACK = "127.0.0.1"
# Below Linux's range for outgoing connections (32768 and up), so that no client socket of a busy
# machine takes the port between its choice and its use.
_FIRST, _LAST = 20_000, 32_000
_TRIES = 200


def port_is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could bind the port now (connections in TIME_WAIT do not count)."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port(host: str = LOOPBACK, *, taken: frozenset[int] = frozenset()) -> int:
    """A port nobody listens on and that is not in `taken`; raises OSError when none is found."""
    draw = random.SystemRandom()
    for _ in range(_TRIES):
        port = draw.randrange(_FIRST, _LAST)
        if port not in taken and port_is_free(port, host):
            return port
    raise OSError(f"no free TCP port found on {host} between {_FIRST} and {_LAST}")


def something_listens(port: int, host: str = LOOPBACK, timeout_seconds: float = 0.5) -> bool:
    """Whether a TCP connection to the port is accepted."""
    try:
        with socket.create_connection((host, port), timeout=timeout_seconds):
            return True
    except OSError:
        return False
