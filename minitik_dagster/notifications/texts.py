"""What each notice says: one table, per kind a subject and a body for e-mail, in plain text.

A push message has the subject as its title and `brief` below it.

The braces name facts of the notice's payload, and `url`, the address of the application.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from minitik_dagster.notifications.events import PUBLICATION_FAILED, PUBLICATION_PUBLISHED
from minitik_dagster.notifications.notices import (
    ACCOUNT_DISCONNECTED,
    ACCOUNT_EXPIRES_SOON,
    ACCOUNT_UNHEALTHY,
    ANALYTICS_UPDATE,
    PUBLICATION_AT_RISK,
    PUBLICATION_REMOVED,
    SCHEDULE_REMINDER,
    SIGN_IN_LINK,
)


@dataclass(frozen=True)
class Text:
    """A message's subject and body before its facts stand in it; `brief` is the body of a push message."""

    subject: str
    body: str
    brief: str = ""

    def filled(self, facts: Mapping[str, Any]) -> "Text":
        """Return the message with its facts; one that is missing reads as a dash."""
        told = _Facts({name: _word(value) for name, value in facts.items()})
        subject = " ".join(self.subject.format_map(told).split())
        return Text(subject, self.body.format_map(told), self.brief.format_map(told))


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
            "{reason}. {heldPosts} posts wait for it.",
        ),
        ACCOUNT_UNHEALTHY: Text(
            "Your {platform} account needs a look before its next post",
            "{platform} was asked about your account and answered: {reason}\n\n"
            "Posts may fail until this is settled: {fix}.\n\n{url}\n",
            "{reason}. What helps: {fix}.",
        ),
        ACCOUNT_EXPIRES_SOON: Text(
            "Your {platform} account must be connected again within {days} days",
            "The access to your {platform} account ends at {expiresAt} and cannot be renewed by "
            "itself. Connect it again before then, so that no post is missed:\n\n{url}\n",
            "The access ends at {expiresAt} and cannot be renewed by itself.",
        ),
        PUBLICATION_AT_RISK: Text(
            "A post for {platform} will not go out unless you act",
            "A post of yours is to be published on {platform} at {dueAt}, and as things stand it will "
            "not be: {reason}\n\nWhat helps: {fix}\n\nThe post: {publicationId}\n\n{url}\n",
            "Due at {dueAt}: {reason}. What helps: {fix}.",
        ),
        PUBLICATION_REMOVED: Text(
            "A post is not on {platform} any more",
            "A post of yours that was public on {platform} is not there any more. It was removed "
            "there, by the platform or by a person; we have not deleted it and will not post it "
            "again.\n\nThe post: {publicationId}\n\n{url}\n",
            "It was removed there, by the platform or by a person.",
        ),
        PUBLICATION_PUBLISHED: Text(
            "Published on {platform}: {title}",
            "{title} is public on {platform}:\n\n{permalink}\n\n{url}\n",
            "It is public now.",
        ),
        PUBLICATION_FAILED: Text(
            "Not published on {platform}: {title}",
            "{title} was not published on {platform}: {reason}\n\nWhat helps: {fix}\n\n"
            "The post: {publicationId}\n\n{url}\n",
            "{reason}. What helps: {fix}.",
        ),
        SCHEDULE_REMINDER: Text(
            "Soon: {title}",
            "{title} is planned for {localTime}.\n\n{url}\n",
            "At {localTime}.",
        ),
        ANALYTICS_UPDATE: Text(
            "Your posts on {day}: {views} new views",
            "On {day} (UTC) your posts gained {views} views, {likes} likes, {comments} comments and "
            "{shares} shares.\n\n{url}\n",
            "{likes} likes, {comments} comments, {shares} shares.",
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
