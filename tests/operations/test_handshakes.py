"""What the real broker says of connections, counted; and that no device hears it."""

from datetime import timedelta

import pytest
from django.utils import timezone
from prometheus_client import REGISTRY

from devices import broker, certificates, contract
from devices.registry import Incoming
from fleetportal import mqtt
from fleetportal.bootstep import Pump
from fleetportal.mqtt import Rooms
from fleetportal.slots import CONTROL
from operations import handshakes
from operations.models import ConnectionMinute
from telemetry.models import DeadLetter
from tests.devices import peers
from tests.devices.test_broker_admission import foreign
from tests.fleetportal.workers import workers

GOOD = b"2026-11-21T11:58:08: New client connected from 127.0.0.1:1 as d-1 (p2, c1, k60, u'd-1')."
BAD = b"2026-11-21T11:58:08: OpenSSL Error[0]: error:0A000086:SSL routines::certificate verify failed"


def line(payload):
    return Incoming(contract.broker_log_filters()[0], payload, 0)


def counted(verdict):
    return REGISTRY.get_sample_value("fleetportal_broker_connections_total", {"verdict": verdict}) or 0


@pytest.mark.django_db
class TestCounting:
    def test_batches_of_a_minute_add_up(self):
        now = timezone.now().replace(second=10)
        assert handshakes.count([line(GOOD), line(GOOD), line(BAD)], now) == {"accepted": 2, "refused": 1}
        handshakes.count([line(BAD), line(b"\xff\xfe"), line(b"anything")], now + timedelta(seconds=40))
        row = ConnectionMinute.objects.get()
        assert (row.minute, row.accepted, row.refused) == (now.replace(second=0, microsecond=0), 2, 2)
        assert handshakes.recent(now) == (2, 2)

    def test_lines_about_nothing_leave_no_row(self):
        assert handshakes.count([line(b"Client d-1 disconnected.")], timezone.now()) == {"accepted": 0, "refused": 0}
        assert not ConnectionMinute.objects.exists()

    def test_only_the_last_minutes_are_recent_and_old_ones_are_forgotten(self):
        now = timezone.now()
        handshakes.count([line(BAD)], now - handshakes.WINDOW - timedelta(minutes=2))
        handshakes.count([line(BAD)], now - handshakes.KEPT - timedelta(days=1))
        assert handshakes.recent(now) == (0, 0)
        assert (handshakes.purge(now), ConnectionMinute.objects.count()) == (1, 1)

    def test_the_control_session_takes_lines_and_neighbours_alike(self):
        before = counted("accepted"), counted("refused")
        Rooms().take(CONTROL, [line(GOOD), Incoming("nonsense", b"", 1), line(BAD), line(BAD)])
        assert handshakes.recent(timezone.now()) == (2, 1)
        assert (counted("accepted") - before[0], counted("refused") - before[1]) == (1, 2)
        assert DeadLetter.objects.get().topic == "nonsense"


@pytest.mark.django_db(transaction=True)
def test_two_workers_count_into_one_minute():
    now = timezone.now()
    with workers(4) as team:
        for each in [worker.begin(lambda: [handshakes.count([line(GOOD)], now) for _ in range(25)]) for worker in team]:
            each.result(30)
    assert ConnectionMinute.objects.get().accepted == 100


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("ca", "mosquitto_server")
class TestBroker:
    def test_it_tells_the_portal_who_was_let_in_and_who_was_not(self, tmp_path):
        good = peers.enrolled(tmp_path)
        expired = peers.signed_by(tmp_path, "issuing", "d-old", now=timezone.now() - timedelta(days=60))
        made = Pump()
        made.start()
        try:
            peers.eventually(lambda: len(made.sessions) == 3 and all(s.connected for s in made.sessions.values()))
            # A subscription is answered a moment after the connection: until then lines are not counted.
            peers.eventually(lambda: peers.let_in(good) and handshakes.recent(timezone.now())[1] > 0)
            handshakes.count([], timezone.now())
            accepted = handshakes.recent(timezone.now())[1]
            assert peers.let_in(good)
            assert not any(map(peers.let_in, (None, expired, foreign(tmp_path))))
            peers.eventually(lambda: handshakes.recent(timezone.now())[0] == 3, what="three refused")
            peers.eventually(lambda: handshakes.recent(timezone.now())[1] > accepted, what="one more accepted")
        finally:
            made.stop()

    def test_a_revoked_certificate_is_told_of(self, tmp_path, mosquitto_server):
        mine = peers.enrolled(tmp_path)
        certificates.revoke(peers.certificate_of(mine), "test", None, timezone.now())
        broker.write_all(timezone.now())
        peers.reload(mosquitto_server)
        with peers.portal(*contract.broker_log_filters()) as portal:
            peers.eventually(lambda: not peers.let_in(mine))
            peers.eventually(
                lambda: handshakes.count([line(payload) for _, payload in portal.received], timezone.now())["refused"]
            )

    def test_a_device_hears_nothing_of_it(self, tmp_path):
        mine, log = peers.enrolled(tmp_path), contract.broker_log_filters()
        with peers.portal(*log) as portal, peers.device(mine) as spy:
            spy.subscribe("$SYS/#", "$SYS/broker/log/#", "+/broker/log/#", *log, mine.topic("cmd"))
            assert not peers.let_in(None)
            peers.eventually(lambda: any(b"certificate" in payload for _, payload in portal.received))
            portal.publish(mine.topic("cmd"), b"last")
            spy.got(mine.topic("cmd"), b"last")
            assert spy.topics() == {mine.topic("cmd")}

    def test_only_the_control_session_subscribes_and_at_a_quality_that_may_be_dropped(self):
        assert set(contract.broker_log_filters()) <= set(mqtt.filters(CONTROL))
        assert not set(contract.broker_log_filters()) & set(mqtt.filters(1))
