"""What a key may do: its scopes, and the names that older keys carry."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

ADMIN_SCOPE: Final = "admin"
# What a key may do for its owner; a person who has signed in may do all of it. `admin` stands beside
# them and also needs an admin as the owner.
USER_SCOPES: Final = (
    "content:read",
    "content:write",
    "schedule:write",
    "publish",
    "analytics:read",
    "accounts:read",
    "accounts:write",
    "webhooks",
    "notifications",
)
SCOPES: Final = (*USER_SCOPES, ADMIN_SCOPE)
# Names that keys made by 0.1 carry: they keep their meaning and may still be asked for.
OLD_SCOPES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"publish:read": (), "publish:write": ("schedule:write", "publish")}
)
# What each scope includes. `publish:read` reads posts and nothing of the library.
_INCLUDES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        **OLD_SCOPES,
        "content:read": ("publish:read",),
        ADMIN_SCOPE: (*USER_SCOPES, *OLD_SCOPES),
    }
)
# Who may read posts: one of these.
READS_POSTS: Final = ("content:read", "publish:read")


def expanded(scopes: Iterable[str]) -> frozenset[str]:
    """Return these scopes with all that they include."""
    found = set(scopes)
    for scope in tuple(found):
        found.update(_INCLUDES.get(scope, ()))
    if {"schedule:write", "publish"} <= found:
        found.add("publish:write")
    return frozenset(found)
