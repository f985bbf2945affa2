"""The one resource every job needs: the process's settings, read when a run begins."""

from dagster import ConfigurableResource, InitResourceContext

from minitik_dagster.resources import run_log
from minitik_dagster.settings import Settings, load_settings


class SettingsResource(ConfigurableResource[Settings]):
    """Reads the environment at run time; holds no value, so none can reach the event log.

    A run that asks for it has its id in every line of its log.
    """

    def setup_for_execution(self, context: InitResourceContext) -> None:
        """Begin the run's log."""
        run_log.begin(context)

    def teardown_after_execution(self, context: InitResourceContext) -> None:
        """End it."""
        run_log.end()

    def load(self) -> Settings:
        """Return the settings; ConfigurationError names every problem at once."""
        return load_settings()
