"""The one resource every job needs: the process's settings, read when a run begins."""

from dagster import ConfigurableResource

from minitik_dagster.settings import Settings, load_settings


class SettingsResource(ConfigurableResource[Settings]):
    """Reads the environment at run time; holds no value, so none can reach the event log."""

    def load(self) -> Settings:
        """Return the settings; ConfigurationError names every problem at once."""
        return load_settings()
