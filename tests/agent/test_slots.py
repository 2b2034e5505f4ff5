"""Slots, bootloader and images, on a real disk."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent import image, slots
from agent.image import Header, Health, ImageError
from agent.slots import Bootloader, SlotError, Start, choose
from tests.agent.power import Power, PowerCut

FACTORY = Header("1.0.0", ["pump"])
STEPS = 20
"""fsync, rename, fsync of the directory: the factory's slot, and five times the memory; and the download's rename."""


def comes_up(header: Header) -> bool:
    return header.health is not Health.BOOT_LOOP


def boot(directory: Path) -> Start:
    return slots.boot(directory, FACTORY, comes_up)


def fetched(directory: Path, version: str = "1.1.0", health: Health = Health.GOOD) -> str:
    """An image as it is after the download; its digest."""
    draft = directory / "draft"
    image.write(draft, Header(version, ["pump"], health), 5000)
    sha256 = image.sha256(draft)
    draft.rename(slots.part(directory, sha256))
    return sha256


def test_a_new_device_boots_what_the_factory_gave_it(tmp_path: Path) -> None:
    assert boot(tmp_path) == Start("a", FACTORY, trial=False, failed="")
    assert boot(tmp_path) == boot(tmp_path)


def test_a_slot_is_tried_once_and_stays_only_if_it_commits(tmp_path: Path) -> None:
    boot(tmp_path)
    assert slots.write(tmp_path, "b", fetched(tmp_path))
    assert boot(tmp_path).slot == "a"
    for ticket in ("1", "2"):
        slots.set_try(tmp_path, "b", ticket)
        tried = boot(tmp_path)
        assert (tried.slot, tried.header.version, tried.trial, tried.failed) == ("b", "1.1.0", True, "")
        back = boot(tmp_path)
        assert (back.slot, back.trial, back.failed) == ("a", False, ticket)
        assert boot(tmp_path).failed == ticket
    slots.set_try(tmp_path, "b", "3")
    assert boot(tmp_path).trial
    slots.commit(tmp_path, "b")
    assert boot(tmp_path) == Start("b", Header("1.1.0", ["pump"]), trial=False, failed="")


def test_a_version_that_never_comes_up_is_followed_by_the_old_one_at_once(tmp_path: Path) -> None:
    boot(tmp_path)
    slots.write(tmp_path, "b", fetched(tmp_path, health=Health.BOOT_LOOP))
    slots.set_try(tmp_path, "b", "1")
    start = boot(tmp_path)
    assert (start.slot, start.header.version, start.failed) == ("a", "1.0.0", "1")


def test_a_tried_slot_can_be_given_up(tmp_path: Path) -> None:
    boot(tmp_path)
    slots.write(tmp_path, "b", fetched(tmp_path))
    slots.set_try(tmp_path, "b", "1")
    boot(tmp_path)
    slots.revert(tmp_path, "1")
    assert (boot(tmp_path).slot, boot(tmp_path).failed) == ("a", "1")


def test_a_slot_is_written_once_and_checked_and_never_the_one_that_runs(tmp_path: Path) -> None:
    boot(tmp_path)
    sha256 = fetched(tmp_path)
    with pytest.raises(SlotError, match="in use"):
        slots.write(tmp_path, "a", sha256)
    assert not slots.write(tmp_path, "b", "0" * 64)
    assert slots.write(tmp_path, "b", sha256)
    assert slots.write(tmp_path, "b", sha256)
    slots.path(tmp_path, "b").write_bytes(b"garbage")
    assert not slots.write(tmp_path, "b", sha256)


@pytest.mark.parametrize("damage", [b"", b"garbage", b'{"active": 1}'])
def test_a_damaged_memory_of_the_bootloader_costs_no_device(tmp_path: Path, damage: bytes) -> None:
    boot(tmp_path)
    slots.write(tmp_path, "b", fetched(tmp_path))
    slots.commit(tmp_path, "b")
    (tmp_path / slots.BOOT).write_bytes(damage)
    assert boot(tmp_path).header.version == "1.0.0"
    slots.path(tmp_path, "a").write_bytes(b"garbage")
    assert boot(tmp_path).header.version == "1.1.0"
    slots.path(tmp_path, "b").unlink()
    with pytest.raises(SlotError, match="neither"):
        boot(tmp_path)


def test_what_the_bootloader_remembers_before_it_runs_a_slot() -> None:
    fresh = Bootloader("a", "b", 1, "1")
    used, slot = choose(fresh)
    assert (used, slot) == (Bootloader("a", "b", 0, "1"), "b")
    assert choose(used) == (Bootloader("a", "", 0, "1", "1"), "a")


@pytest.fixture
def power(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Power]:
    supply = Power(tmp_path, monkeypatch)
    yield supply
    supply.back()


def life(directory: Path, sha256: str) -> None:
    boot(directory)
    assert slots.write(directory, "b", sha256)
    slots.set_try(directory, "b", "1")
    assert boot(directory).trial
    slots.commit(directory, "b")
    slots.revert(directory, "2")


def test_an_update_takes_this_many_durable_steps(tmp_path: Path, power: Power) -> None:
    sha256 = fetched(tmp_path)
    power.taken = 0
    life(tmp_path, sha256)
    assert power.taken == STEPS


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", range(STEPS))
def test_a_cut_at_any_durable_step_leaves_a_device_that_boots_the_old_or_the_new_version(
    tmp_path: Path, power: Power, step: int, after: bool
) -> None:
    sha256 = fetched(tmp_path)
    power.cut(step, after=after)
    with pytest.raises(PowerCut):
        life(tmp_path, sha256)
    power.back()
    start = boot(tmp_path)
    assert (start.slot, start.header.version) in {("a", "1.0.0"), ("b", "1.1.0")}
    again = boot(tmp_path)
    assert (again.slot, again.trial) in {("a", False), ("b", False)}


@pytest.mark.parametrize(
    "content", [b"", b"no json\n", b'{"version": "1.0.0"}\n', b'{"version":"1.0.0","device_types":["x"]}', b"{" * 5000]
)
def test_other_files_are_no_images(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ImageError):
        image.read(tmp_path / "x")


Agent = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    def run(*line: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "agent", "image", *line]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


def test_the_command_makes_the_same_image_each_time_and_prints_its_manifest(tmp_path: Path, agent: Agent) -> None:
    path = tmp_path / "pump-1.1.0.img"
    line = ("--version", "1.1.0", "--device-type", "pump", "--device-type", "chiller", "--size", "100000", str(path))
    made = agent(*line)
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout == f"{image.sha256(path)}  pump-1.1.0.img\n"
    assert image.read(path) == Header("1.1.0", ["pump", "chiller"], Health.GOOD)
    assert path.stat().st_size == 100_000
    assert agent(*line).stdout == made.stdout
    assert agent(*line, "--health", "boot_loop").stdout != made.stdout
    assert image.read(path).health is Health.BOOT_LOOP


@pytest.mark.parametrize("wrong", [("--version", "1"), ("--health", "fine"), ("--size", "big")])
def test_bad_arguments_are_named(tmp_path: Path, agent: Agent, wrong: tuple[str, str]) -> None:
    made = agent("--version", "1.1.0", "--device-type", "pump", *wrong, str(tmp_path / "x"))
    assert made.returncode == 2
    assert wrong[0] in made.stderr
