"""A mailer for tests."""

from dataclasses import dataclass, field

from minitik_dagster.errors import DependencyDownError


@dataclass
class Recorder:
    """A mailer that keeps what it is given, and fails as often as it is told."""

    failures: int = 0
    sent: list[tuple[str, str, str]] = field(default_factory=list)
    note: str | None = None

    def send(self, to: str, subject: str, body: str) -> None:
        """Keep it, or fail."""
        if self.failures:
            self.failures -= 1
            raise DependencyDownError("mail", "the mail service did not take the message")
        self.sent.append((to, subject, body))
