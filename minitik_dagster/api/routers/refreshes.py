"""`/api/accounts/…/refresh`: renewing tokens now; the schedule does it by itself in time."""

import asyncio
from datetime import timedelta
from typing import Annotated, Final

from fastapi import Depends
from sqlalchemy import select
from sqlalchemy.orm import Session

from minitik_dagster.accounts.refresh_due import refresh_due, refresh_one
from minitik_dagster.api.auth import AdminDep, Caller, require_scope
from minitik_dagster.api.dependencies import EngineDep, SettingsDep
from minitik_dagster.api.openapi import problems
from minitik_dagster.api.routing import Router
from minitik_dagster.api.schemas.base import Instant, View
from minitik_dagster.db.models import Account
from minitik_dagster.db.types import AccountStatus, Platform
from minitik_dagster.errors import NotFoundError, RevokedError, StateConflictError

router = Router(prefix="/api/accounts", tags=["accounts"])
# A nudge: what a request does not reach stays due for the schedule.
_NUDGE: Final = timedelta(seconds=20)

Writer = Annotated[Caller, Depends(require_scope("accounts:write"))]


class RefreshedView(View):
    """An account after a refresh; `refreshed` is false when its tokens are too young for one."""

    id: str
    platform: Platform
    status: AccountStatus
    token_expires_at: Instant | None
    refreshed_at: Instant | None
    refreshed: bool


class NudgedView(View):
    """What was done within the request. `left` stays due for the schedule."""

    due: int
    refreshed: int
    already: int
    failed: int
    ended: int
    left: int


@router.post("/refresh-expiring", responses=problems())
def refresh_expiring_accounts(caller: AdminDep, settings: SettingsDep) -> NudgedView:
    """Renew what is due now, for 20 s at most. For outside schedulers; safe at any time (admin)."""
    del caller
    report = asyncio.run(refresh_due(settings, run_for=_NUDGE))
    return NudgedView.model_validate(report.counts())


@router.post("/{account_id}/refresh", responses=problems(404, 409, 429, 502))
def refresh_account(
    account_id: str, caller: Writer, engine: EngineDep, settings: SettingsDep
) -> RefreshedView:
    """Renew the account's tokens now. 409 when it must be connected anew, 502 to try again."""
    account = _own(engine, account_id, caller)
    if account.status is not AccountStatus.CONNECTED:
        raise StateConflictError(
            f"the account is {account.status.value}; connect it again", state=account.status.value
        )
    try:
        refreshed = asyncio.run(refresh_one(settings, account_id))
    except RevokedError as error:
        now = _own(engine, account_id, caller).status.value
        raise StateConflictError(f"{error.reason}; the account is {now}", state=now) from None
    account = _own(engine, account_id, caller)
    return RefreshedView(
        id=account.id,
        platform=account.platform,
        status=account.status,
        token_expires_at=account.token_expires_at,
        refreshed_at=account.refreshed_at,
        refreshed=refreshed,
    )


def _own(engine: EngineDep, account_id: str, caller: Caller) -> Account:
    """Read the caller's account in a transaction of its own: none is held over the platform's answer."""
    query = select(Account).where(Account.id == account_id, Account.user_id == caller.user_id)
    with Session(engine) as session:
        account = session.scalars(query).one_or_none()
    if account is None:
        raise NotFoundError(f"no account {account_id[:64]!r}")
    return account
