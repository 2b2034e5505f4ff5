"""The backlog, from real sessions at the real broker to the cockpit, the metrics, /readyz and the findings."""

import re
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import paho.mqtt.client as paho
import pytest
from django.core.cache import cache
from django.db import OperationalError
from django.utils import timezone
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from devices import contract, outgoing
from devices.models import Finding
from fleetportal import health, mqtt, observability, slots
from fleetportal.bootstep import Pump
from fleetportal.broker_figures import BrokerFigures
from fleetportal.embedded import mosquitto, ports
from fleetportal.embedded.program import running
from fleetportal.mqtt import Rooms
from fleetportal.pump import Session
from operations import audits
from telemetry import backlog, pressure
from telemetry.pressure import Broker, Line
from tests import servers
from tests.devices import peers
from tests.factories import StaffFactory

_CLOCK = "$SYS/broker/uptime"
QUEUE = 10
"""Messages that a small broker keeps for a client."""


@pytest.fixture(autouse=True)
def _nothing_told():
    """Other tests of this process told of backlogs, too."""
    cache.clear()


@contextmanager
def pump():
    made = Pump()
    made.start()
    try:
        peers.eventually(lambda: len(made.sessions) == 3 and all(each.connected for each in made.sessions.values()))
        yield made
    finally:
        made.stop()


def line(**changes):
    now = time.time()
    return replace(Line(at=now, unacked=0, oldest=now, stored_at=now, full=False, per_second=0), **changes)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("ca", "mosquitto_server", "days")
class TestAtWork:
    def test_a_worker_tells_what_waits_and_what_the_broker_counts(self, client):
        with pump():
            peers.eventually(lambda: backlog.now().broker, what="the broker's figures")
            peers.eventually(lambda: backlog.now().messages == 0)  # lines of its log were on their way
            seen = backlog.now()
            assert (seen.stuck, seen.away) == (0, 0)
            assert seen.seconds < 5
            peers.eventually(lambda: backlog.now().broker.clients >= 3)
            assert seen.broker.dropped == 0
            told = observability.exposition().decode()
        assert 'fleetportal_broker{figure="clients"}' in told
        assert "fleetportal_backlog_seconds" in told
        assert "fleetportal_mqtt_oldest_seconds" in told

    def test_while_the_database_is_away_it_grows_and_afterwards_it_is_gone(self, monkeypatch, tmp_path):
        identity = peers.enrolled(tmp_path)
        take, away = Rooms._take_telemetry, [True]

        def broken(rooms, messages):
            if away[0]:
                raise OperationalError("gone")
            take(rooms, messages)

        monkeypatch.setattr(Rooms, "_take_telemetry", broken)
        with pump(), peers.device(identity) as device:

            def heard():
                device.publish(identity.topic("telemetry"), b"{}")
                return backlog.now().away

            peers.eventually(heard, what="a worker that could not store it")
            began = backlog.now()
            peers.eventually(lambda: backlog.now().seconds > max(began.seconds, 2))
            seen = backlog.now()
            assert seen.messages >= 1
            assert seen.stuck > 0
            away[0] = False
            peers.eventually(lambda: backlog.now().messages == 0 and backlog.now().away == 0)
            assert backlog.now().stuck == 0

    def test_broker_figures_wait_for_no_database(self, monkeypatch, tmp_path):
        """The control session is stuck with what a device said."""
        identity = peers.enrolled(tmp_path)

        def broken(*_):
            raise OperationalError("gone")

        with pump() as made, peers.device(identity) as device:
            monkeypatch.setattr(Rooms, "_take_words", broken)
            device.publish(identity.topic("event"), b"{}")
            peers.eventually(lambda: made._progress[slots.CONTROL].line(1, 1, 9).away)
            with ExitStack() as stack:
                for _ in range(20):
                    stack.enter_context(peers.portal())
                peers.eventually(lambda: made._broker.counted(None).clients >= 20)
            monkeypatch.undo()


def test_a_figure_that_is_not_told_is_what_it_was():
    """Mosquitto forgets after a minute what has not changed."""
    figures = BrokerFigures()
    assert figures.counted(None) is None
    stored, _, _, dropped, _ = contract.BROKER_FIGURES
    figures.hear(stored, b"70")
    figures.hear(dropped, b"no number")
    first = figures.counted(None)
    assert (first.queued, first.dropped) == (70, 0)
    before = Broker(1.0, queued=10, retained=50, size=9, dropped=3, dropped_at=0.5, clients=4)
    then = figures.counted(before)
    assert then == replace(before, at=then.at, queued=20)
    figures.hear(dropped, b"4")
    assert figures.counted(before).dropped_at > 1


@pytest.fixture
def small(settings, monkeypatch, _authorities):
    """A broker of its own, that keeps few messages."""
    config = mosquitto.CONFIG.replace("max_queued_messages 1000000", f"max_queued_messages {QUEUE}")
    monkeypatch.setattr(mosquitto, "CONFIG", config.replace("max_inflight_messages 8192", "max_inflight_messages 10"))
    with servers.place.temporary() as here:
        broker = mosquitto.broker_folder(here)
        for path in settings.BROKER_DIRECTORY.iterdir():
            (broker / path.name).write_bytes(path.read_bytes())
            (broker / path.name).chmod(0o644)
        made = mosquitto.server(here, ports.any_free(), ports.any_free(), servers.PASSWORD)
        with running(made, here.own_folder("log")):
            settings.MQTT_URL = made.url
            yield made


@contextmanager
def control(figures):
    """The control session at this broker, which hears what it counts."""
    made = Session("portal-control", mqtt.filters(slots.CONTROL), lambda _: None, lambda *_: None)
    made.overheard = figures.hear
    made.start()
    try:
        peers.eventually(lambda: figures.counted(None), what="a figure")
        yield
    finally:
        made.stop()


def fall_asleep(name):
    """A session that subscribes to readings and is gone: the broker keeps them for it."""
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=paho.MQTTv5)
    host, port = outgoing.connect_options(client)
    lasting = Properties(PacketTypes.CONNECT)
    lasting.SessionExpiryInterval = 3600
    subscribed = []
    client.on_subscribe = lambda *_: subscribed.append(True)
    client.on_connect = lambda *_: client.subscribe("/t/#", 1)
    client.connect(host, port, clean_start=False, properties=lasting)
    client.loop_start()
    peers.eventually(lambda: subscribed)
    client.disconnect()
    client.loop_stop()


def open_findings():
    audits.run(timezone.now(), ["backlog"])
    return dict(Finding.objects.filter(resolved_at__isnull=True).values_list("kind", "severity"))


@pytest.mark.django_db
def test_messages_the_broker_drops_are_an_alarm_until_it_drops_no_more(small):
    figures = BrokerFigures()
    fall_asleep("sleeper")
    with control(figures), peers.portal() as publisher:
        backlog.tell({}, figures.counted(backlog.broker()))
        assert open_findings() == {}
        for number in range(5 * QUEUE):
            publisher.publish("/t/y/d/telemetry", str(number).encode())
        peers.eventually(lambda: figures.counted(None).dropped >= 4 * QUEUE, what="dropped messages")
        backlog.tell({}, figures.counted(backlog.broker()))
        seen = backlog.broker()
    assert (seen.dropped, seen.queued) == (4 * QUEUE, QUEUE)
    assert open_findings() == {"broker_dropped": "critical"}
    assert health._notes() == ["the broker dropped messages"]
    long_ago = replace(seen, dropped_at=time.time() - pressure.DROPPED_SECONDS)
    backlog.tell({}, long_ago)
    assert open_findings() == {}
    backlog.tell({}, figures.counted(long_ago))
    assert open_findings() == {}, "the same count is no news"


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("ca", "mosquitto_server")
def test_what_devices_do_wrong_is_no_drop(tmp_path):
    """Neither a foreign topic nor a message that is too large: an alarm about them would be everyday."""
    identity, figures = peers.enrolled(tmp_path), BrokerFigures()
    with control(figures), peers.device(identity) as device, peers.portal("/#") as portal:
        before = figures.counted(None)
        for _ in range(5):
            device.publish("/t/y/another/telemetry")
        device.client.publish(identity.topic("telemetry"), b"x" * 400_000, qos=1)
        device.publish(identity.topic("event"), b"the last")
        portal.got(identity.topic("event"), b"the last")
        with peers.portal(_CLOCK) as clock:  # it comes with the figures, every second; the first one is of the past
            peers.eventually(lambda: len(clock.received) >= 3)
        assert figures.counted(None).dropped == before.dropped


# --- who reads it ---------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_messages_that_wait_longer_than_a_minute_are_a_finding_that_ends_by_itself():
    backlog.tell({1: line()}, None)
    assert open_findings() == {}
    waiting = line(unacked=70, oldest=time.time() - 90, stored_at=time.time() - 90, away=88)
    backlog.tell({1: waiting}, None)
    assert open_findings() == {"backlog": "warning"}
    assert Finding.objects.get().detail == (
        "Messages wait for 90 s; 70 are known to. The database has taken nothing for 88 s."
    )
    backlog.tell({1: replace(waiting, oldest=time.time() - 2000)}, None)
    assert open_findings() == {"backlog": "critical"}
    backlog.tell({1: line()}, None)
    assert open_findings() == {}


@pytest.mark.django_db
def test_without_the_cache_nobody_can_say_and_nothing_changes(settings, client):
    backlog.tell({1: line(unacked=1, oldest=time.time() - 90)}, None)
    assert open_findings() == {"backlog": "warning"}
    settings.CACHES = {"default": settings.CACHES["default"] | {"LOCATION": "redis://127.0.0.1:1/0"}}
    assert [ran.state for ran in audits.run(timezone.now(), ["backlog"])] == ["unseen"]
    assert Finding.objects.get().resolved_at is None
    assert (backlog.seconds(), backlog.tone()) == (0, "neutral")
    client.force_login(StaffFactory())
    assert client.get("/admin/").status_code == 200


@pytest.mark.django_db
def test_the_cockpit_has_a_tile(client):
    client.force_login(StaffFactory())
    backlog.tell({1: line(unacked=1, oldest=time.time() - 1000)}, None)
    page = client.get("/admin/").content.decode()
    tile = re.search(r'<a class="figure tone-(\w+)" href="([^"]+)"><span[^>]*>Seconds behind</span><b>(\d+)</b>', page)
    assert tile[1] == "bad"
    assert int(tile[3]) >= 1000
    assert client.get(tile[2]).status_code == 200


def test_a_killed_worker_leaves_no_figure_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    script = (
        "from fleetportal import observability as o; o.UNACKED.set(7); o.DROPPED.inc(); print(flush=True);"
        "import signal, os; os.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = subprocess.run([sys.executable, "-c", script], check=False, stdout=subprocess.PIPE)
    assert ended.returncode == -signal.SIGKILL
    assert list(tmp_path.glob("gauge_livesum_*.db"))
    told = observability.exposition().decode()
    assert "fleetportal_mqtt_unacked" not in told
    assert "fleetportal_mqtt_dropped_total 1.0" in told, "what was counted stays"
