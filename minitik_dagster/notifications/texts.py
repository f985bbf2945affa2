"""What each notice says by e-mail: one table, a subject and a body per kind, in plain text.

The braces name facts of the notice's payload, and `url`, the address of the application.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from minitik_dagster.notifications.notices import (
    ACCOUNT_DISCONNECTED,
    ACCOUNT_EXPIRES_SOON,
    ACCOUNT_UNHEALTHY,
    PUBLICATION_AT_RISK,
    PUBLICATION_REMOVED,
    SIGN_IN_LINK,
)


@dataclass(frozen=True)
class Text:
    """A message's subject and body before its facts stand in it."""

    subject: str
    body: str

    def filled(self, facts: Mapping[str, Any]) -> "Text":
        """Return the message with its facts; one that is missing reads as a dash."""
        told = _Facts({name: _word(value) for name, value in facts.items()})
        subject = " ".join(self.subject.format_map(told).split())
        return Text(subject, self.body.format_map(told))


TEXTS: Final[Mapping[str, Text]] = MappingProxyType(
    {
        SIGN_IN_LINK: Text(
            "Sign in to minitik",
            "Open this link within 15 minutes and press the button; it works once:\n\n{link}\n\n"
            "If you did not ask for it, ignore this message: nothing happens.\n",
        ),
        ACCOUNT_DISCONNECTED: Text(
            "Your {platform} account needs you: it cannot publish",
            "Your {platform} account cannot publish any more ({status}): {reason}\n\n"
            "Posts that wait for it: {heldPosts}. They are kept, not lost. Connect the account "
            "again and release them:\n\n{url}\n",
        ),
        ACCOUNT_UNHEALTHY: Text(
            "Your {platform} account needs a look before its next post",
            "{platform} was asked about your account and answered: {reason}\n\n"
            "Posts may fail until this is settled: {fix}.\n\n{url}\n",
        ),
        ACCOUNT_EXPIRES_SOON: Text(
            "Your {platform} account must be connected again within {days} days",
            "The access to your {platform} account ends at {expiresAt} and cannot be renewed by "
            "itself. Connect it again before then, so that no post is missed:\n\n{url}\n",
        ),
        PUBLICATION_AT_RISK: Text(
            "A post for {platform} will not go out unless you act",
            "A post of yours is to be published on {platform} at {dueAt}, and as things stand it will "
            "not be: {reason}\n\nWhat helps: {fix}\n\nThe post: {publicationId}\n\n{url}\n",
        ),
        PUBLICATION_REMOVED: Text(
            "A post is not on {platform} any more",
            "A post of yours that was public on {platform} is not there any more. It was removed "
            "there, by the platform or by a person; we have not deleted it and will not post it "
            "again.\n\nThe post: {publicationId}\n\n{url}\n",
        ),
    }
)


class _Facts(dict[str, str]):
    """Facts by name; what is not known reads as a dash."""

    def __missing__(self, name: str) -> str:
        return "-"


def _word(value: Any) -> str:
    if value is None:
        return "-"
    return "".join(mark for mark in str(value) if mark.isprintable())
