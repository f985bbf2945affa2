"""Dagster's sensors: thin shells over the domain's questions."""

import warnings

from dagster import BetaWarning

# Dagster 1.13's own `@sensor` passes its beta parameter `owners` and warns of it on every import.
warnings.filterwarnings("ignore", message="Parameter `owners` of initializer", category=BetaWarning)
