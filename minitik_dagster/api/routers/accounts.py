"""`/api/accounts`: which accounts the caller has connected."""

from typing import Annotated, Self

from fastapi import Depends

from minitik_dagster.accounts.directory import AccountFacts, list_accounts
from minitik_dagster.api.auth import Caller, require_scope
from minitik_dagster.api.dependencies import ReadingDep
from minitik_dagster.api.openapi import problems
from minitik_dagster.api.routing import Router
from minitik_dagster.api.schemas.base import Instant, View
from minitik_dagster.db.types import AccountStatus, Platform

router = Router(prefix="/api/accounts", tags=["accounts"])


class CapabilitiesView(View):
    """What can be done with the account now; `delete` = the platform's API can delete a post.

    `missingScopes` and `reasons` have an entry for each that cannot be done: the permissions to grant,
    and why in plain words.
    """

    publish: bool
    delete: bool
    metrics: bool
    missing_scopes: dict[str, list[str]]
    reasons: dict[str, str]


class AccountView(View):
    """A connected account.

    `lastSyncAt` is when its platform last answered well about it. `probedAt` and `probeOutcome` are of
    the last daily question who we are to it: `ok`, or what is wrong.
    """

    id: str
    platform: Platform
    platform_account_id: str
    username: str | None
    status: AccountStatus
    token_expires_at: Instant | None
    scopes: list[str]
    capabilities: CapabilitiesView
    default_privacy: str | None
    last_sync_at: Instant | None
    probed_at: Instant | None
    probe_outcome: str | None

    @classmethod
    def of(cls, facts: AccountFacts) -> Self:
        """Show an account."""
        return cls.model_validate(facts, from_attributes=True)


class AccountsView(View):
    """The caller's accounts."""

    accounts: list[AccountView]


@router.get("", responses=problems())
def list_connected_accounts(
    caller: Annotated[Caller, Depends(require_scope("accounts:read"))], session: ReadingDep
) -> AccountsView:
    """List the caller's accounts, the oldest connection first."""
    return AccountsView(
        accounts=[AccountView.of(facts) for facts in list_accounts(session, caller.user_id)]
    )
