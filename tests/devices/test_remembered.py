"""What is in memory is what is in the database, however transactions and threads overlap. Real connections."""

from dataclasses import dataclass, field

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devices import remembered
from devices.remembered import MAX_CHANGED, Look, Mark, Memory
from tests.factories import DeviceFactory, TenantFactory

HERE, THERE = "server 1", "server 2"


def looked(horizon, changed=(), server=HERE, upheaval=False):
    return Look(Mark(server, horizon), written=False, upheaval=upheaval, changed=list(changed))


@pytest.fixture
def memory():
    """Two devices, as good as transaction 100."""
    made = Memory[str](bound=10)
    made.end(None, looked(100), {"a": "old", "b": "old"})
    return made


def holds(memory):
    return memory.begin(["a", "b", "c"])[1]


def test_what_changed_is_forgotten_and_the_rest_is_kept(memory):
    mark, found = memory.begin(["a", "c"])
    assert (mark, found) == (Mark(HERE, 100), {"a": "old"})
    memory.end(mark, looked(110, ["a", "nobody"]), {"c": "new"})
    assert holds(memory) == {"b": "old", "c": "new"}
    assert memory.begin([])[0] == Mark(HERE, 110)


@pytest.mark.parametrize(
    "look",
    [
        looked(110, upheaval=True),
        looked(110, server=THERE),
        looked(99),
        looked(110, [f"d{n}" for n in range(MAX_CHANGED + 1)]),
    ],
    ids=["upheaval", "another server", "the counter went back", "too much changed"],
)
def test_everything_is_forgotten_where_nothing_can_be_believed(memory, look):
    mark, _ = memory.begin(["a"])
    memory.end(mark, look, {"c": "new"})
    assert holds(memory) == {"c": "new"}
    assert memory.begin([])[0] == look.mark


def test_a_slow_look_lowers_the_mark_to_what_it_read(memory):
    slow, _ = memory.begin(["c"])  # looks at 105 and reads c, then others look and end first
    quick, _ = memory.begin(["a"])
    memory.end(quick, looked(120), {})
    memory.end(slow, looked(105), {"c": "as of 105"})
    assert memory.begin([])[0] == Mark(HERE, 105), "or a change of c by transaction 110 would never be seen"


def test_a_look_that_asked_from_a_higher_mark_does_not_raise_a_lowered_one(memory):
    slow, _ = memory.begin(["c"])
    first, _ = memory.begin(["a"])
    memory.end(first, looked(120), {})
    second, _ = memory.begin(["a"])  # asks from 120
    memory.end(slow, looked(105), {"c": "as of 105"})
    memory.end(second, looked(130), {})  # has not asked what happened to c between 105 and 120
    assert memory.begin([])[0] == Mark(HERE, 105)


def test_a_look_at_the_server_before_fills_nothing(memory):
    mark, _ = memory.begin(["c"])
    memory.end(mark, looked(50, server=THERE), {"a": "there"})
    memory.end(mark, looked(110), {"c": "here"})
    assert holds(memory) == {"a": "there"}


def test_what_was_read_before_everything_was_forgotten_is_not_kept(memory):
    mark, _ = memory.begin(["c"])
    memory.clear()
    memory.end(mark, looked(110), {"c": "new"})
    assert holds(memory) == {}
    assert memory.begin([])[0] is None


def test_no_more_is_kept_than_the_bound(memory):
    for n in range(5):
        mark, _ = memory.begin([])
        memory.end(mark, looked(110 + n), {f"d{n}-{m}": "x" for m in range(4)})
        assert len(memory) <= 10


# --- beside real transactions ---------------------------------------------------------------------------------------

READERS, WRITERS, DEVICES = 2, 2, 2
_STATES = ["registered", "active", "quarantined", "decommissioned"]


@dataclass
class Reader:
    """A look, a step at a time, as a thread would be stopped anywhere."""

    at: str = "idle"
    mark: Mark | None = None
    known: dict = field(default_factory=dict)
    look: Look | None = None
    loaded: dict = field(default_factory=dict)


class Overlap:
    """Writers change devices in transactions that begin, commit and roll back; readers look meanwhile.

    Whoever looks without anybody in between must see what is committed.
    """

    def __init__(self):
        self.writers = [connection.copy() for _ in range(WRITERS)]
        self.lines = [connection.copy() for _ in range(READERS)]
        self.memory = Memory[str](bound=100)
        self.readers = [Reader() for _ in range(READERS)]
        self.busy: dict[str, int] = {}
        """Who holds a row's lock: a second writer would wait for ever, in this one thread."""
        self.open: set[int] = set()
        self.ids = [DeviceFactory().device_id for _ in range(DEVICES)]

    def change(self, writer, device, state):
        """In the writer's open transaction, or in a new one."""
        if writer not in self.open:
            self.open.add(writer)
            self.writers[writer].set_autocommit(False)
            run(self.writers[writer], "SELECT pg_current_xact_id()")
            run(self.lines[0], "SELECT pg_current_xact_id()")  # later than it, and ended before it
        device_id = self.ids[device]
        if self.busy.setdefault(device_id, writer) == writer:
            run(self.writers[writer], f"UPDATE devices_device SET state = '{state}' WHERE device_id = '{device_id}'")

    def finish(self, writer, commit):
        if writer in self.open:
            (self.writers[writer].commit if commit else self.writers[writer].rollback)()
            self.writers[writer].set_autocommit(True)
            self.open.remove(writer)
            self.busy = {device_id: other for device_id, other in self.busy.items() if other != writer}

    def step(self, number):
        """One reader does the next thing."""
        reader, line = self.readers[number], self.lines[number]
        if reader.at == "idle":
            reader.mark, reader.known = self.memory.begin(self.ids)
            reader.at = "begun"
        elif reader.at == "begun":
            reader.look = remembered.look(reader.mark, line)
            reader.at = "looked"
        elif reader.at == "looked":
            reader.loaded = committed(line)
            reader.at = "loaded"
        else:
            self.memory.end(reader.mark, reader.look, reader.loaded)
            reader.at = "idle"

    def look(self):
        """A whole look at once sees what is committed now."""
        mark, known = self.memory.begin(self.ids)
        look = remembered.look(mark, self.lines[0])
        kept = {name: value for name, value in known.items() if name not in look.changed} if look.spares(mark) else {}
        now = committed(self.lines[0])
        assert {name: now[name] for name in kept} == kept
        self.memory.end(mark, look, {name: value for name, value in now.items() if name not in kept})

    def close(self):
        for line in [*self.writers, *self.lines]:
            line.close()


def committed(line):
    return dict(run(line, "SELECT device_id, state FROM devices_device"))


def run(line, sql):
    with line.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []


writer, reader = st.integers(0, WRITERS - 1), st.integers(0, READERS - 1)
doings = st.one_of(
    st.tuples(st.just("change"), writer, st.integers(0, DEVICES - 1), st.sampled_from(_STATES)),
    st.tuples(st.just("finish"), writer, st.sampled_from([True, True, False])),
    st.tuples(st.just("step"), reader),
    st.tuples(st.just("step"), reader),
    st.tuples(st.just("look")),
)


@pytest.mark.django_db(transaction=True)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(doings, min_size=20, max_size=60))
def test_whoever_looks_sees_what_is_committed_however_others_overlap(story):
    overlap = Overlap()
    try:
        for what, *how in story:
            getattr(overlap, what)(*how)
        for each in range(WRITERS):
            overlap.finish(each, commit=True)
        overlap.look()
    finally:
        overlap.close()


@pytest.mark.django_db(transaction=True)
def test_numbers_of_another_servers_dump_name_no_change():
    device, mark = DeviceFactory(), remembered.look(None).mark
    with connection.cursor() as cursor:
        cursor.execute("UPDATE devices_device SET changed_xid = '1000000000000'")
        cursor.execute("INSERT INTO devices_upheaval VALUES ('1000000000000')")
    seen = remembered.look(mark)
    assert (seen.changed, seen.upheaval) == ([], False)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE devices_device SET state = 'quarantined'")
    assert remembered.look(mark).changed == [device.device_id]


@pytest.mark.django_db(transaction=True)
def test_the_look_is_answered_by_the_index_alone():
    tenant = TenantFactory()
    kind = DeviceFactory().device_type
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO devices_device (device_id, tenant_id, device_type_id, hardware_id, name, tags, state,"
            " attested, created_at)"
            " SELECT 'd-' || n, %s, %s, n, '', '{}', 'active', false, now() FROM generate_series(1, 5000) n",
            [tenant.pk, kind.pk],
        )
        cursor.execute("ANALYZE devices_device")
        cursor.execute("EXPLAIN " + remembered._LOOK, {"since": str(remembered.look(None).mark.horizon)})
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "device_by_change" in plan
    assert "Seq Scan on devices_device" not in plan
