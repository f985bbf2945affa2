"""How a benchmark's figures are told: for people, a line each, or as JSON."""

import json
from collections.abc import Mapping
from typing import Any


def tell(
    machine: Mapping[str, Any], figures: Mapping[str, Any], *, as_json: bool, width: int = 24
) -> None:
    """Print the figures by name, with the machine as it was before; names are `width` characters wide."""
    if as_json:
        print(json.dumps({"machine": machine, **figures}, indent=2))
        return
    print("machine:", machine)
    for name, value in figures.items():
        print(f"{name:{width}} {value}")
