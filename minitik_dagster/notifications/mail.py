"""How an e-mail leaves: by Resend, onto standard output of a local stack, or not at all."""

import logging
import sys
from dataclasses import dataclass
from typing import Final, Protocol, TextIO
from urllib.parse import quote, urlsplit

from minitik_dagster.errors import DependencyDownError
from minitik_dagster.settings import Settings

# What `minitik up` recognises in the API's output and shows on its own (local/mail_relay.py).
PRINTED: Final = "mail: "
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


class Mailer(Protocol):
    """Sends one e-mail. `note` says why nothing leaves, None where it does."""

    @property
    def note(self) -> str | None:
        """Why a message that was given to `send` has not left; None when it has."""

    def send(self, to: str, subject: str, body: str) -> None:
        """Send it; DependencyDownError when it was not taken."""


@dataclass(frozen=True)
class AppriseMailer:
    """Sends by a service that Apprise knows.

    `service` is its URL without the addressee, which is added (Apprise's wiki, "Resend":
    `resend://{apikey}:{from_email}/{to_email}`); it holds the service's key.
    """

    service: str
    note: str | None = None

    def __repr__(self) -> str:
        return f"AppriseMailer({urlsplit(self.service).scheme})"

    def send(self, to: str, subject: str, body: str) -> None:
        """Send it; DependencyDownError when the service did not take it."""
        import apprise  # a second of import time that only a process which sends mail needs

        # Its own lines may repeat what the service answered.
        logging.getLogger("apprise").setLevel(logging.CRITICAL)
        service = apprise.Apprise.instantiate(f"{self.service}/{quote(to, safe='@')}")
        if service is None or not service.notify(
            title=subject, body=body, body_format=apprise.NotifyFormat.TEXT
        ):
            raise DependencyDownError("mail", "the mail service did not take the message")


@dataclass(frozen=True)
class PrintingMailer:
    """Prints for the developer in front of a local stack."""

    stream: TextIO | None = None
    note: str | None = "printed"

    def send(self, to: str, subject: str, body: str) -> None:
        """Print it, each line marked."""
        stream = self.stream or sys.stdout
        lines = [f"to {to}: {subject}", *(line for line in body.splitlines() if line)]
        stream.write("".join(f"{PRINTED}{line}\n" for line in lines))
        stream.flush()


@dataclass(frozen=True)
class NullMailer:
    """Sends nothing: no mail is configured."""

    note: str | None = "not sent: RESEND_API_KEY and EMAIL_FROM are not set"

    def send(self, to: str, subject: str, body: str) -> None:
        """Do nothing."""


def choose_mailer(settings: Settings, world: str | None) -> Mailer:
    """Return how mail leaves from a database stamped `world`.

    A sandbox never writes to people. Without RESEND_API_KEY and EMAIL_FROM messages are printed where
    NEXTAUTH_URL is on loopback, as under `minitik up`; elsewhere they are not sent.
    """
    if world == "sandbox":
        return PrintingMailer()
    if settings.resend_api_key is not None and settings.email_from:
        key = quote(settings.resend_api_key.get_secret_value(), safe="")
        return AppriseMailer(f"resend://{key}:{quote(settings.email_from, safe='@')}")
    if urlsplit(settings.nextauth_url).hostname in _LOOPBACK:
        return PrintingMailer()
    return NullMailer()
