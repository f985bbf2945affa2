"""minitik_dagster: short videos published at their instant, exactly once, on Dagster."""

__version__ = "0.1.0"
