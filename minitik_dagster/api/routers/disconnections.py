"""`DELETE /api/accounts/{id}`: disconnect an account; the row and its history stay."""

from typing import Annotated, Literal, Self

from fastapi import Depends

from minitik_dagster.api.auth import Caller, require_scope
from minitik_dagster.api.dependencies import SessionDep
from minitik_dagster.api.openapi import problems
from minitik_dagster.api.routing import Router
from minitik_dagster.api.schemas.base import View
from minitik_dagster.api.schemas.scheduling import UndoneView
from minitik_dagster.db.types import Platform
from minitik_dagster.publishing.disconnect import Disconnected, disconnect

router = Router(prefix="/api/accounts", tags=["accounts"])

Writer = Annotated[Caller, Depends(require_scope("accounts:write"))]


class DisconnectedView(View):
    """What a disconnect did now, and what the outbox does next (`undone`, `later`).

    `held` and `cancelled` are posts; `unconfirmed` were sent and can no longer be asked about;
    `already` says that the account had been disconnected before.
    """

    account_id: str
    platform: Platform
    already: bool
    held: list[str]
    cancelled: list[str]
    undone: list[UndoneView]
    unconfirmed: list[str]
    later: str

    @classmethod
    def of(cls, done: Disconnected) -> Self:
        """Show a disconnect."""
        return cls.model_validate(done, from_attributes=True)


@router.delete("/{account_id}", responses=problems(404, 409))
def disconnect_account(
    account_id: str, caller: Writer, session: SessionDep, posts: Literal["hold", "cancel"] = "hold"
) -> DisconnectedView:
    """Disconnect an account at once and hold or cancel its posts; safe to repeat."""
    done = disconnect(
        session, account_id, posts=posts, actor=caller.user_id, user_id=caller.user_id
    )
    return DisconnectedView.of(done)
