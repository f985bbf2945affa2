"""How much one person may keep in the bucket."""

from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from minitik_dagster.errors import FieldProblem, RuleRefusedError

# Uploads under way count with what they announced; what is deleted does not, though its objects may wait.
_KEPT: Final = text(
    """
    SELECT COALESCE(sum("fileSize"), 0) FROM contents
    WHERE "userId" = :user_id AND "deletedAt" IS NULL
    """
)
# Of two uploads that begin at once the second one sees the first. Not the person's own row: its lock
# would make scheduling wait for the object store.
_ONE_AT_A_TIME: Final = text(
    "SELECT pg_advisory_xact_lock(hashtextextended('storage ' || :user_id, 0))"
)


def require_room(session: Session, user_id: str, wanted: int, quota: int) -> None:
    """Raise RuleRefusedError unless the user may keep `wanted` bytes more, of `quota` in all.

    Holds to the end of the caller's transaction, which is to add the content.
    """
    values = {"user_id": user_id}
    session.execute(_ONE_AT_A_TIME, values)
    kept = int(session.execute(_KEPT, values).scalar_one())
    if kept + wanted > quota:
        raise RuleRefusedError(
            FieldProblem(
                "fileSize",
                f"The file has {wanted} bytes; {max(0, quota - kept)} of your {quota} are free.",
                "Delete contents that are no longer needed, or abort uploads that will not go on.",
            )
        )
