import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from agent.outbox import Batch, Counters, Kept, Outbox

NAMES = ("d-1", "d-2")


def kept(number: int, device_id: str = "d-1") -> Kept:
    return Kept(device_id, number.to_bytes(16, "big"), b'{"n":%d}' % number)


def test_messages_come_back_in_order_and_unchanged(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox", bound=10)
    outbox.commit(Batch(added=[kept(3), kept(1), kept(2), kept(9, "d-2")]))
    assert outbox.pending("d-1") == [kept(1), kept(2), kept(3)]
    assert outbox.pending("d-1", after=kept(1).msg_id, upto=kept(2).msg_id) == [kept(2)]
    assert outbox.pending("d-1", limit=1) == [kept(1)]


def test_settled_messages_are_gone_and_settling_twice_is_harmless(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox", bound=10)
    outbox.commit(Batch(added=[kept(1), kept(2)]))
    for _ in range(2):
        outbox.commit(Batch(settled=[("d-1", kept(1).msg_id), ("d-2", kept(2).msg_id)]))
        assert outbox.pending("d-1") == [kept(2)]
        assert outbox.depth() == 1


def test_the_oldest_are_dropped_and_counted_over_restarts(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox", bound=3)
    assert outbox.commit(Batch(added=[kept(n) for n in range(5)])) == {"d-1": 2}
    outbox.close()
    outbox = Outbox(tmp_path / "outbox", bound=3)
    assert outbox.commit(Batch(added=[kept(5)])) == {"d-1": 3}
    assert outbox.pending("d-1") == [kept(3), kept(4), kept(5)]
    assert outbox.counters("d-1").dropped == 3


def test_counters_never_go_back(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox", bound=3)
    assert outbox.counters("d-1") == Counters(0, 0, 0)
    outbox.commit(Batch(boots={"d-1": 1000}, sessions={"d-1": 7}))
    outbox.commit(Batch(boots={"d-1": 400}, sessions={"d-1": 6}))
    assert outbox.counters("d-1") == Counters(boot_ms=1001, session=7)


def test_a_failed_commit_leaves_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox", bound=3)
    outbox.commit(Batch(added=[kept(1)]))
    unwritable: list[bytes] = []
    broken = Batch(added=[kept(2), Kept("d-1", b"x", unwritable)], settled=[("d-1", kept(1).msg_id)])  # type: ignore[arg-type]
    with pytest.raises(sqlite3.Error):
        outbox.commit(broken)
    assert (outbox.pending("d-1"), outbox.depth("d-1")) == ([kept(1)], 1)
    outbox.commit(Batch(added=[kept(2)], settled=[("d-1", kept(1).msg_id)]))
    assert (outbox.pending("d-1"), outbox.depth("d-1")) == ([kept(2)], 1)


def test_an_outbox_without_room_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one"):
        Outbox(tmp_path / "outbox", bound=0)


class Model(RuleBasedStateMachine):
    """The outbox beside a plain list: bounded, ordered, and nothing is lost that is not counted."""

    @initialize(bound=st.integers(1, 8))
    def open(self, bound: int) -> None:
        self.folder = TemporaryDirectory()
        self.bound, self.made = bound, 0
        self.unsettled: dict[str, list[Kept]] = {name: [] for name in NAMES}
        self.dropped = dict.fromkeys(NAMES, 0)
        self.outbox = Outbox(Path(self.folder.name) / "outbox", bound)

    @rule(devices=st.lists(st.sampled_from(NAMES), max_size=20), picks=st.lists(st.integers(0, 30), max_size=5))
    def commit(self, devices: list[str], picks: list[int]) -> None:
        batch = Batch()
        for name in NAMES:
            for pick in picks:
                if pick < len(self.unsettled[name]):
                    batch.settled.append((name, self.unsettled[name][pick].msg_id))
            self.unsettled[name] = [k for k in self.unsettled[name] if (name, k.msg_id) not in batch.settled]
        for name in devices:
            self.made += 1
            batch.added.append(kept(self.made, name))
            self.unsettled[name].append(kept(self.made, name))
        for name in NAMES:
            excess = max(0, len(self.unsettled[name]) - self.bound)
            self.unsettled[name] = self.unsettled[name][excess:]
            self.dropped[name] += excess
        for name, total in self.outbox.commit(batch).items():
            assert total == self.dropped[name]

    @rule()
    def reopen(self) -> None:
        self.outbox.close()
        self.outbox = Outbox(Path(self.folder.name) / "outbox", self.bound)

    @invariant()
    def agrees(self) -> None:
        for name in NAMES:
            assert self.outbox.pending(name) == self.unsettled[name]
            assert self.outbox.depth(name) == len(self.unsettled[name]) <= self.bound
            assert self.outbox.counters(name).dropped == self.dropped[name]

    def teardown(self) -> None:
        self.outbox.close()
        self.folder.cleanup()


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)

WRITER = """
import sys
from pathlib import Path
from agent.outbox import Batch, Kept, Outbox
outbox, number = Outbox(Path(sys.argv[1]), bound=10**6), 0
while True:
    batch = [Kept("d-1", n.to_bytes(16, "big"), b"{}") for n in range(number, number + 20)]
    outbox.commit(Batch(added=batch))
    number += 20
    print(number, flush=True)
"""


def test_everything_committed_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "outbox"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, cwd=Path.cwd())
    assert writer.stdout is not None
    confirmed = [int(writer.stdout.readline()) for _ in range(10)][-1]
    os.kill(writer.pid, signal.SIGKILL)
    confirmed = max([confirmed, *(int(line) for line in writer.stdout.read().split(b"\n") if line)])
    writer.wait()
    found = [int.from_bytes(k.msg_id, "big") for k in Outbox(path, bound=10**6).pending("d-1", limit=10**6)]
    assert found == list(range(len(found)))
    assert len(found) >= confirmed
    assert len(found) % 20 == 0
