"""Dagster's assets: what the platform made, with its history."""

import warnings

from dagster import BetaWarning

# A beta parameter that we use knowingly: the family is pinned to one release (decision 0001).
warnings.filterwarnings(
    "ignore", message="Parameter `backfill_policy` of function", category=BetaWarning
)
