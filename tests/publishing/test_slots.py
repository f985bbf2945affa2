"""Slots bound preparation over all, per platform and per account."""

import asyncio
from datetime import timedelta

import pytest

from minitik_dagster.db.types import Platform
from minitik_dagster.local.workbench import Workbench
from minitik_dagster.publishing.slots import UploadSlots
from tests.publishing.running import all_at, run_until


class Crowd:
    """Counts who is inside at once."""

    def __init__(self, slots: UploadSlots) -> None:
        self._slots = slots
        self.inside = 0
        self.most = 0
        self.release = asyncio.Event()

    async def visit(self, platform: Platform, account_id: str) -> None:
        async with self._slots.take(platform, account_id):
            self.inside += 1
            self.most = max(self.most, self.inside)
            await self.release.wait()
            self.inside -= 1


@pytest.mark.parametrize(
    ("visitors", "most"),
    [
        ([(Platform.TIKTOK, "one")] * 9, 2),
        ([(Platform.TIKTOK, f"t{n}") for n in range(9)], 3),
        ([(p, f"{p}{n}") for n in range(9) for p in (Platform.TIKTOK, Platform.YOUTUBE)], 5),
    ],
)
def test_each_bound_holds(visitors: list[tuple[Platform, str]], most: int) -> None:
    """2 per account, 3 per platform, 5 over all."""

    async def main() -> int:
        crowd = Crowd(UploadSlots(total=5, per_platform=3, per_account=2))
        tasks = [asyncio.create_task(crowd.visit(*visitor)) for visitor in visitors]
        for _ in range(20):
            await asyncio.sleep(0)
        crowd.release.set()
        await asyncio.gather(*tasks)
        return crowd.most

    assert asyncio.run(main()) == most


def test_a_busy_account_keeps_no_other_waiting() -> None:
    """Its queue forms before the platform's slots, not inside them."""

    async def main() -> bool:
        slots = UploadSlots(total=5, per_platform=3, per_account=2)
        crowd = Crowd(slots)
        tasks = [asyncio.create_task(crowd.visit(Platform.TIKTOK, "busy")) for _ in range(9)]
        await asyncio.sleep(0)
        try:
            async with asyncio.timeout(1), slots.take(Platform.TIKTOK, "other"):
                got_in = True
        except TimeoutError:
            got_in = False
        crowd.release.set()
        await asyncio.gather(*tasks)
        return got_in

    assert asyncio.run(main())


def test_a_platform_is_full_until_its_posts_have_left() -> None:
    """What left twice, or was never expected, counts for nothing."""
    slots = UploadSlots(total=5, per_platform=3, per_account=2)
    for number in range(3):
        slots.expect(f"y{number}", Platform.YOUTUBE)
    slots.expect("t", Platform.TIKTOK)
    assert slots.full(3) == [Platform.YOUTUBE]
    slots.left("y0")
    slots.left("y0")
    slots.left("nobody")
    assert slots.full(3) == []
    assert slots.full(2) == [Platform.YOUTUBE]


def test_a_platform_that_hangs_does_not_fill_the_dispatcher(workbench: Workbench) -> None:
    """Twelve posts of one that does not answer, room for six: the other platform's post goes out."""
    workbench.sandbox.add_fault(
        platform="youtube", operation="session", kind="delay", count=50, delayMs=25_000
    )
    now = workbench.now()
    for number in range(12):
        account = workbench.add_account(Platform.YOUTUBE)
        due = now - timedelta(seconds=60 - number)
        workbench.schedule(workbench.add_video(20_000), [(account, Platform.YOUTUBE)], due)
    account = workbench.add_account(Platform.TIKTOK)
    video = workbench.add_video(20_000)
    ids = workbench.schedule(video, [(account, Platform.TIKTOK)], now)
    workbench.settings = workbench.settings.model_copy(update={"minitik_claim_limit": 6})
    run_until(workbench, ids, all_at("confirming", "live"), seconds=20)
    assert len(workbench.public_posts(video)) == 1
