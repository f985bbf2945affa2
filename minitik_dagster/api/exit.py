"""Whether the server wants to end: streams must end first, and it tells the application only afterwards.

uvicorn waits at its end for open answers, then runs the application's shutdown. Its handler of SIGTERM is a
method of the server, whose `should_exit` says so at once (uvicorn's documentation, "Server behavior").
"""

import signal
from collections.abc import Callable


def server_exit() -> Callable[[], bool]:
    """Return a question for the server that runs this process; never true under another one."""
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return lambda: bool(getattr(server, "should_exit", False))
