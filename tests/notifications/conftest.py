"""A person to tell, and a push service."""

from collections.abc import Iterator

import pytest

from minitik_dagster.db.engine import make_engine
from tests.api.scene import Scene
from tests.notifications.desk import Desk
from tests.notifications.receiver import Receiver, receiving


@pytest.fixture
def desk(database_url: str) -> Iterator[Desk]:
    """A person, in a database of a sandbox: loopback may be sent to."""
    engine = make_engine(database_url, pool_size=10)
    yield Desk(Scene(engine))
    engine.dispose()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A push service."""
    with receiving() as made:
        made.answers = [201]
        yield made
