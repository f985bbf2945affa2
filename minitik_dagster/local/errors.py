"""What can go wrong with the local stack; each text is the one clear line a person reads."""

from pathlib import Path

from minitik_dagster.errors import MinitikError


class LocalStackError(MinitikError):
    """The local stack cannot start or go on; the text names the part and what to do."""


class PortTakenError(LocalStackError):
    """Another program listens on the port that was asked for."""

    def __init__(self, part: str, port: int, option: str | None = None) -> None:
        fix = f"choose another with {option}" if option else "end the program that holds it"
        super().__init__(f"{part}: port {port} on 127.0.0.1 is already taken; {fix}")
        self.port = port


class PartDiedError(LocalStackError):
    """A process of the stack ended although nobody asked it to."""

    def __init__(self, part: str, returncode: int | None, log: Path | None) -> None:
        where = f"; its log: {log}" if log is not None else ""
        killed = returncode is not None and returncode < 0
        how = f"killed by signal {abs(returncode or 0)}" if killed else f"exit {returncode}"
        super().__init__(f"{part} died ({how}){where}")
        self.part = part


class NotReadyError(LocalStackError):
    """A part did not answer in time."""

    def __init__(self, part: str, seconds: float, log: Path | None) -> None:
        where = f"; its log: {log}" if log is not None else ""
        super().__init__(f"{part} did not answer within {seconds:.0f} s{where}")


class FolderUnusableError(LocalStackError):
    """The data folder cannot be written or belongs to someone else."""
