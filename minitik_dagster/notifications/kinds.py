"""What people may be told of, by which channels, and what holds for those who never chose."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Kind(StrEnum):
    """What people may be told of, by the old system's names."""

    CONTENT_PUBLISHED = "content_published"
    PUBLICATION_FAILED = "publication_failed"
    ANALYTICS_UPDATE = "analytics_update"
    ACCOUNT_DISCONNECTED = "account_disconnected"
    SCHEDULE_REMINDER = "schedule_reminder"


class Channel(StrEnum):
    """How people are told."""

    PUSH = "push"
    EMAIL = "email"


# A browser that has subscribed asked for it; by e-mail comes what needs somebody to act.
DEFAULTS: Final[Mapping[Kind, Mapping[Channel, bool]]] = MappingProxyType(
    {
        Kind.CONTENT_PUBLISHED: {Channel.PUSH: True, Channel.EMAIL: False},
        Kind.PUBLICATION_FAILED: {Channel.PUSH: True, Channel.EMAIL: True},
        Kind.ANALYTICS_UPDATE: {Channel.PUSH: True, Channel.EMAIL: False},
        Kind.ACCOUNT_DISCONNECTED: {Channel.PUSH: True, Channel.EMAIL: True},
        Kind.SCHEDULE_REMINDER: {Channel.PUSH: True, Channel.EMAIL: False},
    }
)


def wanted(kind: Kind, user: str) -> str:
    """Return the SQL of whether anything of this kind would reach the person whose id `user` names.

    Of push only where a browser is subscribed: no row is written that nobody would read.
    """

    def chosen(channel: Channel) -> str:
        default = str(DEFAULTS[kind][channel]).lower()
        path = f"{{{kind},{channel}}}"
        return f"""COALESCE((SELECT n.choices #>> '{path}' FROM notification_preferences n
            WHERE n."userId" = {user}), '{default}') = 'true'"""  # noqa: S608 - constants

    subscribed = f'EXISTS (SELECT 1 FROM notification_subscriptions s WHERE s."userId" = {user})'  # noqa: S608
    return f"(({subscribed} AND {chosen(Channel.PUSH)}) OR {chosen(Channel.EMAIL)})"
