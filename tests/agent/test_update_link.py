"""An update from the offer to its end: a real broker, a real HTTPS door, real files."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from agent import image, slots
from agent.faults import Luck
from agent.image import Health
from devices.contract import Offer, OfferState
from tests.agent.bench import Bench, heard
from tests.agent.https import Reply
from tests.agent.place import Place
from tests.agent.portal import Listener
from tests.agent.releases import broken_off, instead, make_image, make_offer


class SlowLuck(Luck):
    """A line that is not in a hurry."""

    def __init__(self) -> None:
        super().__init__()
        self.pace = 100_000.0


def test_an_offer_is_fetched_checked_installed_and_runs(place: Place) -> None:
    offer = place.offer()

    async def scenario(bench: Bench) -> None:
        await place.say(offer)
        await place.ended("succeeded")
        assert place.versions == ["1.0.0", "1.1.0"]
        seqs = [word["seq"] for word in place.reports]
        assert seqs == sorted(set(seqs))
        steps = list(dict.fromkeys(place.words))
        assert steps == ["notified", "downloading", "downloaded", "installing", "rebooting", "verifying", "succeeded"]
        boots = {word["state"]: word["boot_id"] for word in place.reports}
        assert boots["installing"] == boots["rebooting"] != boots["verifying"] == boots["succeeded"]
        assert len(place.door.questions) == 3  # before download, installation and reboot
        assert bench.link.device.firmware_version == "1.1.0"
        directory = place.home.directory
        assert image.sha256(slots.path(directory, "b")) == offer.image.sha256
        assert not list(directory.glob("*.part"))

    place.run(scenario)


@pytest.mark.parametrize(
    ("health", "reason", "versions_born"),
    [
        (Health.BOOT_LOOP, "boot_failed", ["1.0.0", "1.0.0"]),
        (Health.SELF_CHECK, "self_check", ["1.0.0", "1.1.0", "1.0.0"]),
    ],
)
def test_a_bad_version_is_followed_by_the_old_one(
    place: Place, health: Health, reason: str, versions_born: list[str]
) -> None:
    offer = place.offer(health=health)

    async def scenario(bench: Bench) -> None:
        await place.say(offer)
        await place.ended("rolled_back", reason)
        await bench.until(lambda: place.versions == versions_born)
        channels = [topic.channel for topic, _, _ in place.home.listener.messages if topic.channel != "telemetry"]
        assert channels[-2:] == ["update_status", "status"]  # the reason first, then the birth
        assert bench.link.device.firmware_version == "1.0.0"

    place.run(scenario)


def test_a_download_that_breaks_off_goes_on_where_it_was(place: Place) -> None:
    offer = place.offer(size=300_000)
    place.door.fetching.extend([broken_off(100_000), broken_off(50_000)])

    async def scenario(_: Bench) -> None:
        await place.say(offer)
        await place.ended("succeeded")
        first, second, third = (question.headers.get("Range") for question in place.door.fetched)
        assert first is None
        assert second == "bytes=100000-"
        assert third == "bytes=150000-"
        assert place.door.fetched[1].headers["If-Range"] == f'"{offer.image.sha256}"'
        assert any(word.get("progress", 0) > 40 for word in place.reports)

    place.run(scenario)


def test_a_device_that_was_off_goes_on_where_it_was(place: Place) -> None:
    offer = place.offer(size=300_000)
    place.door.fetching.append(broken_off(100_000))
    place.door.asking.extend([place.door.wanted(), (503, {"Retry-After": "3600"}, b"")])

    async def whole() -> None:
        async with heard(place.home.listener):
            async with place.home.switched_on() as bench:
                await place.home.listener.until(place.home.listener.births)
                await place.say(offer)
                await bench.until(lambda: len(place.door.questions) == 2)
                await bench.until(lambda: bench.link.device.update.memory.resumed)
                await bench.journal.committed()
            async with place.home.switched_on():
                await place.ended("succeeded")
        assert [question.headers.get("Range") for question in place.door.fetched] == [None, "bytes=100000-"]

    asyncio.run(whole())


def test_trouble_on_the_way_is_waited_out(place: Place) -> None:
    offer = place.offer()
    place.door.asking.extend(
        [(500, {}, b""), (200, {}, b"nonsense"), (200, {}, b'{"wanted": false, "retry_after": 0.1}')]
    )
    place.door.fetching.extend(
        [instead(403), instead(503, **{"Retry-After": "0"}), instead(410), instead(500), instead(416)]
    )

    async def scenario(_: Bench) -> None:
        await place.say(offer)
        await place.ended("succeeded")
        assert len(place.door.fetched) == 6

    place.run(scenario)


def test_a_door_that_hands_out_nothing_is_given_up(place: Place) -> None:
    offer = place.offer(download_attempts=2)
    place.door.fetching.extend([instead(500)] * 2)

    async def scenario(_: Bench) -> None:
        await place.say(offer)
        await place.ended("failed", "download")
        assert place.versions == ["1.0.0"]

    place.run(scenario)


@pytest.mark.parametrize("over", [0, 1, 2])
def test_what_is_not_wanted_any_more_is_not_installed(place: Place, over: int) -> None:
    offer = place.offer()
    place.door.asking.extend([*[place.door.wanted()] * over, (410, {}, b"{}")])

    async def scenario(bench: Bench) -> None:
        await place.say(offer)
        await place.ended("canceled", "withdrawn")
        assert place.versions == ["1.0.0"]
        assert not list(place.home.directory.glob("*.part"))

    place.run(scenario)


def test_a_withdrawal_stops_a_download(place: Place) -> None:
    place = replace(place, home=replace(place.home, luck=SlowLuck()))
    offer = place.offer(size=300_000)

    async def scenario(bench: Bench) -> None:
        await place.say(offer)
        await place.home.listener.until(lambda: any(word.get("progress") for word in place.reports))
        await place.say(Offer(offer.update_id, 1, OfferState.WITHDRAWN))
        await place.ended("canceled", "withdrawn")
        await bench.until(lambda: not list(place.home.directory.glob("*.part")))
        assert place.words[-1] == "canceled"

    place.run(scenario)


def changed_content(content: bytes) -> Callable[[Reply], Reply]:
    """The door hands out another file."""
    return lambda reply: (reply[0], reply[1], content)


def test_another_file_than_was_signed_is_refused(place: Place) -> None:
    offer = place.offer()
    place.door.fetching.append(changed_content(b"x" * offer.image.size))

    async def scenario(_: Bench) -> None:
        await place.say(offer)
        await place.ended("rejected", "hash")
        assert not list(place.home.directory.glob("*.part"))

    place.run(scenario)


def test_a_file_that_is_longer_than_it_was_said_to_be_is_refused(place: Place) -> None:
    offer = place.offer()
    place.door.fetching.append(changed_content(b"x" * (offer.image.size + 1)))

    async def scenario(_: Bench) -> None:
        await place.say(offer)
        await place.ended("rejected", "too_large")

    place.run(scenario)


@pytest.mark.parametrize("kind", ["other version", "other hardware", "no image"])
def test_a_signed_file_that_is_no_image_for_this_device_is_refused(place: Place, kind: str) -> None:
    path = make_image(place.folder, "1.1.0", "pump" if kind == "other hardware" else "cold-logger")
    if kind == "no image":
        path.write_bytes(b"not a header\n")
    place.door.hold(path)
    version = "1.2.0" if kind == "other version" else "1.1.0"
    offer = make_offer(path, place.signer, version=version, device_types=["cold-logger"])

    async def scenario(_: Bench) -> None:
        await place.say(offer)
        await place.ended("rejected", "incompatible")

    place.run(scenario)


def test_a_full_disk_is_said_and_waited_for(place: Place) -> None:
    offer = place.offer()
    part = slots.part(place.home.directory, offer.image.sha256)
    part.symlink_to("/dev/full")

    async def scenario(_: Bench) -> None:
        await place.say(offer)
        await place.ended("downloading", "space")
        part.unlink()  # somebody made room
        await place.ended("succeeded")

    place.run(scenario)


def test_the_last_report_is_retained_and_said_again_on_each_connection(place: Place) -> None:
    offer = place.offer()

    async def whole() -> None:
        async with heard(place.home.listener):
            async with place.home.switched_on():
                await place.home.listener.until(place.home.listener.births)
                await place.say(offer)
                await place.ended("succeeded")
                count = len(place.home.listener.payloads("update_status"))
                await place.home.listener.cut("d-1")
                await place.home.listener.until(lambda: len(place.home.listener.payloads("update_status")) > count)
            assert place.home.listener.payloads("update_status")[-1] == place.reports[-1]
        retained = Listener(place.home.broker.plain_port)
        async with heard(retained):
            await retained.until(lambda: retained.payloads("update_status"))
            assert retained.payloads("update_status") == [place.reports[-1]]

    asyncio.run(whole())


def test_without_keys_every_image_is_refused(place: Place) -> None:
    offer = place.offer()
    place = replace(place, home=replace(place.home, build=replace(place.home.build, firmware_keys={})))

    async def scenario(_: Bench) -> None:
        await place.say(offer)
        await place.ended("rejected", "signature")
        assert place.door.fetched == []

    place.run(scenario)
