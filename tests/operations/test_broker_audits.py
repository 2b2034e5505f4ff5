"""Each audit: it fires, it keeps quiet, it ends."""

import subprocess
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from devices import broker, contract, evidence
from devices.models import Event
from devices.registry import Incoming
from fleetportal.embedded import ports
from operations import audits, handshakes, knocking
from operations.broker_audits import _BIRTHS
from operations.models import ConnectionMinute
from tests.devices import peers
from tests.factories import DeviceFactory
from tests.operations.conftest import opened

pytestmark = pytest.mark.django_db


def births(device, boots):
    for boot in boots:
        evidence.record("device.online", device=device, detail={"boot_id": boot})


class TestTakeovers:
    def test_births_in_quick_succession_until_they_are_a_while_ago(self, audited):
        one, twins, calm = DeviceFactory(), DeviceFactory(), DeviceFactory()
        births(one, "a" * 10)
        births(twins, "ab" * 5)
        births(calm, "a" * 9)
        told = {("takeovers", one.pk, ""): "warning", ("takeovers", twins.pk, ""): "critical"}
        assert audited("takeovers") == told
        assert audited("takeovers", timezone.now() + timedelta(minutes=11)) == {}

    def test_other_events_do_not_count(self, audited):
        device = DeviceFactory()
        births(device, "a" * 5)
        for _ in range(20):
            evidence.record("device.offline", device=device)
        assert audited("takeovers") == {}

    def test_it_reads_no_more_of_the_events_than_were_written_lately(self, audited):
        """By the primary key from its end; the table is large, and has no index on time."""
        old = timezone.now() - timedelta(days=1)
        Event.objects.bulk_create(
            Event(kind="device.online", at=old, recorded_at=old, device=None, actor="x") for _ in range(20_000)
        )
        births(DeviceFactory(), "a" * 3)
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE devices_event")
            since = timezone.now() - timedelta(minutes=10)
            cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + _BIRTHS, {"since": since, "least": 10})
            plan = cursor.fetchone()[0]
        assert "Seq Scan" not in str(plan)


class TestRefused:
    def test_many_and_a_large_share_until_they_are_a_while_ago(self, audited):
        now = timezone.now()
        key = ("handshakes_refused", None, "")
        ConnectionMinute.objects.create(minute=now, accepted=30, refused=9)
        assert audited("refused-handshakes") == {}
        ConnectionMinute.objects.update(refused=12)
        assert audited("refused-handshakes") == {key: "warning"}
        ConnectionMinute.objects.update(refused=200)
        assert audited("refused-handshakes") == {key: "critical"}
        assert audited("refused-handshakes", now + timedelta(minutes=7)) == {}

    @pytest.mark.usefixtures("ca", "mosquitto_server")
    def test_by_the_real_brokers_own_words(self, audited):
        with peers.portal(*contract.broker_log_filters()) as portal:
            assert not any(peers.let_in(None) for _ in range(12))
            peers.eventually(lambda: sum(b"certificate" in payload for _, payload in portal.received) >= 12)
            handshakes.count([Incoming(topic, payload, 0) for topic, payload in portal.received], timezone.now())
        assert audited("refused-handshakes") == {("handshakes_refused", None, ""): "warning"}


class TestAcl:
    @pytest.fixture(autouse=True)
    def _folder(self, ca, settings, tmp_path):
        settings.BROKER_DIRECTORY = tmp_path
        self.acl = tmp_path / "acl"
        DeviceFactory(state="quarantined")
        broker.write_all(timezone.now())

    def test_a_line_somebody_added_until_the_portal_writes_the_file_again(self, audited):
        assert audited("acl") == {}
        self.acl.write_text(self.acl.read_text() + "user d-x\ntopic readwrite #\n")
        assert audited("acl") == {("acl_broad", None, "topic readwrite #"): "critical"}
        broker.write_all(timezone.now())
        assert audited("acl") == {}

    def test_a_missing_file_is_an_audit_that_failed(self, audited):
        self.acl.unlink()
        (ran,) = audits.run(timezone.now(), ["acl"])
        assert ran.failed
        assert opened() == {("audit_failed", None, "acl"): "warning"}
        broker.write_all(timezone.now())
        assert audited("acl") == {}


OPEN = """\
per_listener_settings true
listener {plain} 127.0.0.1
allow_anonymous true
listener {tls} 127.0.0.1
allow_anonymous true
cafile {folder}/ca.pem
certfile {folder}/server.pem
keyfile {folder}/server.key
listener {closed} 127.0.0.1
allow_anonymous false
"""


@pytest.fixture
def careless(ca, tmp_path, settings):
    """A broker whose doors are open: (plain, TLS without certificates, closed) ports."""
    chosen = dict(zip(("plain", "tls", "closed"), (ports.any_free() for _ in range(3)), strict=True))
    configuration = tmp_path / "careless.conf"
    configuration.write_text("user root\n" + OPEN.format(folder=settings.BROKER_DIRECTORY, **chosen))
    broker.write_all(timezone.now())
    with running(["/usr/sbin/mosquitto", "-c", str(configuration)], chosen["closed"]):
        yield chosen


@contextmanager
def running(command, port):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        peers.eventually(lambda: knocking.admits("127.0.0.1", port, tls=False) is not None)
        yield
    finally:
        process.terminate()
        process.wait()


class TestDoors:
    @pytest.mark.usefixtures("ca", "mosquitto_server")
    def test_the_doors_of_our_broker_are_closed(self, audited):
        assert audited("device-door") == {}
        assert audited("portal-door") == {}

    @pytest.mark.parametrize("kind", ["plain", "tls"])
    def test_a_device_door_that_opens_until_it_is_shut(self, careless, settings, audited, kind):
        settings.DEVICE_MQTT_PORT = careless[kind]
        assert audited("device-door") == {("device_door_open", None, ""): "critical"}
        settings.DEVICE_MQTT_PORT = careless["closed"]
        assert audited("device-door") == {}

    def test_a_portal_door_that_opens_until_it_is_shut(self, careless, settings, audited):
        settings.MQTT_URL = f"mqtt://portal:x@127.0.0.1:{careless['plain']}"
        assert audited("portal-door") == {("portal_door_open", None, ""): "critical"}
        settings.MQTT_URL = f"mqtt://portal:x@127.0.0.1:{careless['closed']}"
        assert audited("portal-door") == {}

    def test_a_broker_that_is_away_changes_nothing(self, careless, settings, audited):
        settings.MQTT_URL = f"mqtt://portal:x@127.0.0.1:{careless['plain']}"
        audited("portal-door")
        settings.MQTT_URL = f"mqtt://portal:x@127.0.0.1:{ports.any_free()}"
        settings.DEVICE_MQTT_PORT = ports.any_free()
        states = {ran.name: ran.state for ran in audits.run(timezone.now(), ["portal-door", "device-door"])}
        assert states == {"portal-door": "unseen", "device-door": "unseen"}
        assert opened() == {("portal_door_open", None, ""): "critical"}

    def test_a_name_that_leads_nowhere_is_tried_by_the_one_the_portal_knows(self, careless, settings, audited):
        settings.DEVICE_MQTT_HOST, settings.DEVICE_MQTT_PORT = "nowhere.invalid", careless["tls"]
        assert audited("device-door") == {("device_door_open", None, ""): "critical"}
