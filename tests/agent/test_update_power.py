"""The power goes while a real link updates a device: in the process, and with the files on the disk."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from uuid import UUID

import pytest

from agent.faults import Fate, Luck
from tests.agent.bench import Home, heard
from tests.agent.place import Place
from tests.agent.power import Power

CUTS = 33
"""Chances for a cut in an update without trouble: before and after each piece of work, before each report."""


class Fragile(Luck):
    """The power goes at one chance, counted from the last `arm`."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.chances, self.cuts = -1, 0, 0

    def arm(self, chance: int) -> None:
        self.left, self.chances = chance, 0

    def cut(self) -> bool:
        self.chances += 1
        self.left -= 1
        self.cuts += self.left == -1
        return self.left == -1

    def dark(self) -> float:
        return 0.02


def test_a_cut_at_any_chance_ends_with_one_version_and_the_right_report(place: Place) -> None:
    luck = Fragile()
    place = replace(place, home=replace(place.home, luck=luck))
    ends: Counter[str] = Counter()

    async def whole() -> None:
        running = "1.0.0"
        async with heard(place.home.listener), place.home.switched_on() as bench:
            await place.home.listener.until(place.home.listener.births)
            for number in range(-1, CUTS, 2):
                offer = place.offer(f"1.{number + 2}.0", size=2000, update_id=UUID(int=number + 2))
                luck.arm(number)
                place.home.listener.offers = lambda _, offer=offer: offer
                await place.say(offer)
                await bench.until(lambda: not bench.link.device.update.in_flight, seconds=30)
                await place.home.listener.until(
                    lambda offer=offer: any(
                        (word["update_id"], word["state"]) in {(str(offer.update_id), end) for end in ENDS}
                        for word in place.reports
                    )
                )
                last = place.reports[-1]
                if number < 0:
                    assert luck.chances == CUTS
                assert luck.cuts == (number + 1) // 2
                running = offer.version if last["state"] == "succeeded" else running
                assert last["firmware_version"] == running == bench.link.device.firmware_version
                assert last["state"] == "succeeded" or last["reason_code"] == "boot_failed"
                ends[last["state"]] += 1

    asyncio.run(whole())
    assert ends["succeeded"] > 12
    assert ends["rolled_back"] >= 1


ENDS = ("succeeded", "rolled_back", "failed", "rejected", "canceled")


def test_mischief_on_the_line_changes_no_end(place: Place) -> None:
    fates = [Fate.DROP, Fate.DUPLICATE, Fate.DELAY, Fate.REORDER, Fate.DROP, Fate.REORDER, Fate.DUPLICATE]

    class Mischief(Luck):
        def fate(self) -> Fate:
            return fates.pop() if fates else Fate.SENT

        def delay(self) -> float:
            return 0.3

    place = replace(place, home=replace(place.home, luck=Mischief()))
    offer = place.offer()

    async def whole() -> None:
        async with heard(place.home.listener), place.home.switched_on() as bench:
            await place.home.listener.until(place.home.listener.births)
            await place.say(offer)
            await place.ended("succeeded")
            assert bench.link.device.firmware_version == "1.1.0"
        assert fates == []

    asyncio.run(whole())


def test_a_wrong_clock_is_the_devices_own(place: Place) -> None:
    class Skewed(Luck):
        def __init__(self) -> None:
            super().__init__()
            self.skew = 7200.0

    place = replace(place, home=replace(place.home, luck=Skewed()))
    offer = place.offer()

    async def whole() -> None:
        async with heard(place.home.listener), place.home.switched_on():
            await place.home.listener.until(place.home.listener.births)
            (birth,) = place.home.listener.payloads("status")
            await place.say(offer)
            await place.ended("succeeded")
            will = next(word for word in place.home.listener.payloads("status") if word["state"] == "offline")
            assert abs(will["ts"] - birth["ts"]) < 60_000

    asyncio.run(whole())


@pytest.mark.parametrize(
    ("step", "after"),
    [(0, False), (1, True), (4, False), (4, True), (7, True), (10, True)],
    ids=["fetched", "written", "not tried", "tried", "try used up", "committed"],
)
def test_a_cut_in_the_middle_of_writing_leaves_a_device_that_finishes(
    place: Place, monkeypatch: pytest.MonkeyPatch, step: int, after: bool
) -> None:
    home: Home = place.home
    offer = place.offer()
    home.listener.offers = lambda _: offer
    power = Power(home.directory, monkeypatch)
    power.cut(step, after=after)

    async def whole() -> None:
        async with heard(home.listener):
            async with home.switched_on() as bench:
                await bench.until(lambda: power.out)
            power.back()
            async with home.switched_on() as bench:
                await bench.until(lambda: bench.link.device.update.memory.said and bench.link.device.online)
                await home.listener.until(lambda: place.words and place.words[-1] in ENDS)
                last = place.reports[-1]
                assert (last["state"], last["firmware_version"]) in {("succeeded", "1.1.0"), ("rolled_back", "1.0.0")}
                assert last["firmware_version"] == bench.link.device.firmware_version == place.versions[-1]

    asyncio.run(whole())
    power.back()
