import base64
import json
import uuid

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from devices import certificates, contract, ingest, pki
from devices.contract import CHANNELS, Direction
from devices.models import Certificate, Device, Event, Finding, Presence
from devices.registry import Incoming
from tests.devices import peers
from tests.devices.hostile import CORPUS
from tests.factories import DeviceFactory, TenantFactory

pytestmark = pytest.mark.django_db
FROM_DEVICE = [c.name for c in CHANNELS.values() if c.direction is Direction.FROM_DEVICE and c.name != "telemetry"]


@pytest.fixture
def device():
    return DeviceFactory()


def topic(device, channel, child=""):
    return str(contract.Topic(device.tenant.slug, device.device_type.slug, device.device_id, channel, child))


def message(device, channel, body, child=""):
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Incoming(topic(device, channel, child), payload, 1)


def birth(device, session=1, **changes):
    return message(device, "status", {"state": "online", "session": session, "boot_id": "b", "ts": 0} | changes)


def event(device, **changes):
    body = {"msg_id": str(uuid.uuid4()), "ts": timezone.now().isoformat(), "kind": "reboot"} | changes
    return message(device, "event", body)


def reasons(*messages):
    refused, _ = ingest.store_batch(list(messages))
    return [item.reason for item in refused]


def test_births_and_wills_move_the_presence_in_order(device):
    will = message(device, "status", {"state": "offline", "session": 1, "boot_id": "b", "ts": 0})
    refused, changed = ingest.store_batch([birth(device), will, birth(device, 2)])
    assert (refused, changed) == ([], {device.device_id})
    assert Presence.objects.values_list("online", "session").get() == (True, 2)


def test_births_of_a_batch_cost_the_database_four_statements_each(ca):
    keys = [pki.new_key() for _ in range(12)]
    first = DeviceFactory()
    devices = [first, *(DeviceFactory(tenant=first.tenant, device_type=first.device_type) for _ in keys[1:])]
    made = [
        certificates.issue(device, pki.read_request(peers.csr(key).encode()), timezone.now())
        for device, key in zip(devices, keys, strict=True)
    ]

    def births(session, count):
        for device, key, row in list(zip(devices, keys, made, strict=True))[:count]:
            statement = contract.proof_statement(device.device_id, session, "b", row.serial)
            proof = base64.b64encode(key.sign(statement, ec.ECDSA(hashes.SHA256()))).decode()
            yield birth(device, session, certificate={"serial": row.serial, "proof": proof})

    def costs(session, count):
        with CaptureQueriesContext(connection) as queries:
            assert reasons(*births(session, count)) == []
        return len(queries)

    costs(1, 12)
    told = Event.objects.filter(kind="device.online").count()
    few, many = costs(2, 2), costs(3, 12)
    assert many - few == 10 * 4  # a savepoint and its end, the presence, the certificate
    assert Event.objects.filter(kind="device.online").count() == told + 14
    assert {row.last_seen_at for row in Certificate.objects.filter(pk__in=[row.pk for row in made])} != {None}


def test_what_did_not_change_is_not_told_to_browsers(device):
    ingest.store_batch([birth(device)])
    assert ingest.store_batch([birth(device)]) == ([], set())


def test_an_event_is_evidence_once_with_all_it_says(device):
    told = event(device, reason="watchdog", battery_v=3.1)
    assert reasons(told, told) == []
    assert reasons(told) == []
    row = Event.objects.get(device=device)
    assert (row.kind, row.device, row.tenant, row.actor) == ("reported.reboot", device, device.tenant, device.device_id)
    assert row.detail == {"reason": "watchdog", "battery_v": 3.1}


@pytest.mark.parametrize("channel", FROM_DEVICE)
@pytest.mark.parametrize("name", CORPUS)
def test_garbage_on_any_channel_is_refused_with_a_reason_while_its_neighbours_are_stored(device, channel, name):
    other = DeviceFactory()
    bad = message(device, channel, CORPUS[name])
    refused, _ = ingest.store_batch([event(other), bad, event(other)])
    assert Event.objects.filter(device=other).count() == 2
    if not CORPUS[name]:  # an empty retained payload deletes the retained one; it says nothing
        assert refused == []
        return
    (item,) = refused
    assert item.reason and item.detail
    assert (item.message, item.device_pk) == (bad, device.pk)
    assert not Event.objects.filter(device=device).exists()


@pytest.mark.parametrize(
    "extra",
    [
        b'"\xff\xfe"', b"1e999999", b"9" * 4000, b"[" * 900 + b"]" * 900, b"[" * 990 + b"]" * 990,
        b'"\\u0000"', b'"a\x00"', b'"' + b"x" * 200_000 + b'"', b'{"\\ud800":1}',
    ],
    ids=range(9),
)  # fmt: skip
def test_an_event_with_anything_in_its_extra_fields_is_stored_or_refused(device, extra):
    """Extra fields stay, so they are judged though the contract does not name them."""
    head = json.dumps({"msg_id": str(uuid.uuid4()), "ts": 0, "kind": "log"}).encode()[:-1]
    refused, _ = ingest.store_batch([message(device, "event", head + b',"x":' + extra + b"}"), event(device)])
    assert len(refused) + Event.objects.filter(kind="reported.log").count() == 1
    assert Event.objects.filter(kind="reported.reboot").exists()


def test_an_event_is_bounded_as_it_stays_for_good(device):
    refused, _ = ingest.store_batch([event(device), event(device, kind="k" * 100, log="1" * 20_000), event(device)])
    assert [item.reason for item in refused] == ["too_large"]
    assert Event.objects.filter(device=device).count() == 2


def test_unknown_fields_are_ignored(device):
    assert reasons(birth(device, moon_phase="full")) == []


@pytest.mark.parametrize("ts", ["yesterday", 10**18, "2026-03-01T12:00:00"])
def test_a_time_that_names_no_moment_is_refused(device, ts):
    assert reasons(birth(device, ts=ts), event(device, ts=ts)) == [
        reasons(birth(device, ts=ts))[0],
        reasons(event(device, ts=ts))[0],
    ]
    assert Presence.objects.get().session == -1
    assert not Event.objects.filter(device=device).exists()


def test_devices_do_not_speak_on_the_portals_channels(device):
    outgoing = [c.name for c in CHANNELS.values() if c.direction is Direction.TO_DEVICE]
    assert reasons(*(message(device, name, {}) for name in outgoing)) == ["direction"] * len(outgoing)


def test_an_unknown_topic_or_device_is_refused(device):
    strangers = [Incoming("nonsense", b"{}", 1), Incoming("/t/y/d-nobody/status", b"{}", 1), Incoming("", b"", 0)]
    assert reasons(*strangers) == ["topic", "unknown_device", "topic"]


def test_a_shadow_is_refused_as_this_portal_keeps_none(device):
    assert reasons(Incoming(f"$aws/things/{device.device_id}/shadow/get", b"", 1)) == ["no_shadow"]


def test_another_tenant_or_type_in_the_topic_is_refused_and_found_out(device):
    foreign = TenantFactory()
    wrong = Incoming(f"/{foreign.slug}/{device.device_type.slug}/{device.device_id}/status", birth(device).payload, 1)
    assert reasons(wrong, wrong) == ["topic_mismatch", "topic_mismatch"]
    finding = Finding.objects.get(kind="topic_mismatch")
    assert (finding.device, finding.count) == (device, 2)
    assert Presence.objects.get().session == -1


def test_a_gateway_cannot_speak_for_a_child_that_is_not_registered_under_it(device):
    child = DeviceFactory(tenant=device.tenant, device_type=device.device_type)
    assert reasons(message(device, "status", json.loads(birth(device).payload), child.device_id)) == ["unknown_child"]
    assert Presence.objects.get(device=child).online is False
    assert Finding.objects.get(kind="unknown_child").device == device


@pytest.mark.parametrize(
    ("state", "expected"),
    [("active", [None, None]), ("registered", [None, None]), ("quarantined", [None, "quarantined"]),
     ("decommissioned", ["decommissioned", "decommissioned"])],
)  # fmt: skip
def test_a_device_is_heard_as_its_state_allows(device, state, expected):
    Device.objects.update(state=state)
    heard = [reasons(each) for each in (birth(device), event(device))]
    assert [each[0] if each else None for each in heard] == expected


def test_a_message_too_large_is_refused_by_size(device):
    assert reasons(message(device, "event", b"x" * (contract.MAX_PAYLOAD_BYTES + 1))) == ["too_large"]


def test_answers_to_what_was_never_asked_are_refused(device):
    ack = message(device, "cmd/ack", {"msg_id": str(uuid.uuid4()), "state": "succeeded"})
    csr = message(device, "certificate/csr", peers.csr().encode())
    assert reasons(ack, csr) == ["unknown_command", "no_certificate"]


def test_a_script_from_a_device_is_kept_as_text(device):
    assert reasons(birth(device, firmware_version="<script>alert(1)</script>")) == []
    assert Presence.objects.get().firmware_version == "<script>alert(1)</script>"
