"""Python's garbage collector, told what a server knows of its memory."""

import gc
from typing import Final

# A request makes some thousand objects, and next to none of them in cycles.
_YOUNG: Final = 20_000


def spare_the_collector() -> None:
    """Leave what was loaded at the start out of every collection, and collect more seldom.

    The modules are a million objects that never go: walking over them took a fifth of a second, now and
    again in the midst of requests (Python documentation, "gc", freeze and set_threshold).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, 20, 20)
