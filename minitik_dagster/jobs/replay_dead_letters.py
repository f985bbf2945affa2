"""The job `replay_dead_letters`: a replay from the web UI, planned first and done only when told."""

from datetime import datetime, timedelta

from dagster import Config, MetadataValue, OpExecutionContext, in_process_executor, job, op
from pydantic import Field

from minitik_dagster.resources.database import DatabaseResource


class ReplayConfig(Config):
    """Which dead letters, for which slot; every given field narrows."""

    ids: list[str] = Field(default=[], description="Ids of dead letters or of publications.")
    code: str | None = Field(default=None, description="The failure's code, such as too_late.")
    platform: str | None = Field(default=None, description="tiktok, instagram or youtube.")
    failed_from: str | None = Field(
        default=None, description="Failed at or after; ISO 8601, UTC where no offset is given."
    )
    failed_to: str | None = Field(default=None, description="Failed before.")
    at: str | None = Field(default=None, description="Publish at this instant.")
    max_lateness_seconds: int | None = Field(
        default=None, description="How long after its due instant a post may still go out."
    )
    dry_run: bool = Field(default=True, description="Only plan; false does it.")


@op(description="Judges each dead letter and, unless it is a dry run, replays what may go.")
def replay_selected(
    context: OpExecutionContext, config: ReplayConfig, database: DatabaseResource
) -> None:
    """Plan or do one replay; the plan is the output's metadata."""
    # Lazy: definitions load fast.
    from sqlalchemy.orm import Session

    from minitik_dagster.publishing.dead_letters import Selection, platform_named
    from minitik_dagster.publishing.replay import Slot, replay

    selection = Selection(
        ids=config.ids,
        code=config.code,
        platform=platform_named(config.platform) if config.platform else None,
        since=_instant("failed_from", config.failed_from),
        until=_instant("failed_to", config.failed_to),
    )
    seconds = config.max_lateness_seconds
    slot = Slot(
        at=_instant("at", config.at),
        max_lateness=timedelta(seconds=seconds) if seconds is not None else None,
    )
    with database.connect() as connection, Session(connection) as session, session.begin():
        made = replay(
            session,
            selection,
            slot=slot,
            dry_run=config.dry_run,
            actor=f"dagster run {context.run_id}",
        )
    context.log.info("%s: %s", "done" if made.done else "plan", dict(made.counts))
    context.add_output_metadata(
        {
            "plan": MetadataValue.md(made.markdown()),
            "dry_run": MetadataValue.bool(config.dry_run),
            **{name: MetadataValue.int(count) for name, count in sorted(made.counts.items())},
        }
    )


def _instant(field: str, given: str | None) -> datetime | None:
    from minitik_dagster.scheduling.instants import resolve

    return resolve(given, "UTC", field=field).at if given is not None else None


@job(
    description=(
        "Replays dead letters by id, cause, platform and time. Plans unless dry_run is false; never "
        "posts twice; safe to repeat."
    ),
    executor_def=in_process_executor,
    tags={"minitik/kind": "replay"},
)
def replay_dead_letters() -> None:
    """Run one replay."""
    replay_selected()
