"""Whom the real broker lets in, and how fast somebody is out."""

import json
import socket
from datetime import timedelta

import paho.mqtt.client as mqtt
import pytest
from django.conf import settings
from django.utils import timezone
from paho.mqtt.enums import CallbackAPIVersion

from devices import authorities, broker, certificates, outgoing, pki
from devices.models import Authority, Device
from devices.tasks import shut_out
from tests.devices import peers

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ca", "mosquitto_server")]
DAY = timedelta(days=1)


def foreign(folder):
    """A CA of the same names as ours, with other keys."""
    now, ours = timezone.now(), authorities.signer()
    root_key, issuing_key, key = pki.new_key(), pki.new_key(), pki.new_key()
    root = pki.make_root("Fleetportal device root", root_key, 30 * DAY, now)
    issuing = pki.make_issuing(ours.row.name, issuing_key.public_key(), root, root_key, 30 * DAY, now)
    leaf = pki.sign_device("d-foreign", key.public_key(), issuing, issuing_key, DAY, now)
    return peers.on_disk(folder, "d-foreign", key, pki.pem(leaf) + pki.pem(issuing))


def of_a_server(folder):
    ca, key = authorities.signer(), pki.new_key()
    leaf = pki.sign_server(["d-server"], key.public_key(), ca.certificate, ca.key, DAY, timezone.now())
    return peers.on_disk(folder, "d-server", key, pki.pem(leaf) + authorities.chain(ca.row))


def below_a_device(folder):
    """Signed with the key of a device's certificate, as if that were a CA."""
    mine, key, device_key = peers.enrolled(folder), pki.new_key(), pki.new_key()
    ca = authorities.signer()
    middle = pki.sign_device(mine.device_id, device_key.public_key(), ca.certificate, ca.key, DAY, timezone.now())
    leaf = pki.sign_device("d-below", key.public_key(), middle, device_key, DAY, timezone.now())
    return peers.on_disk(folder, "d-below", key, pki.pem(leaf) + pki.pem(middle) + authorities.chain(ca.row))


STRANGERS = {
    "no certificate": lambda _: None,
    "a foreign CA": foreign,
    "the claim root": lambda folder: peers.signed_by(folder, Authority.Kind.CLAIM),
    "expired": lambda folder: peers.signed_by(folder, "issuing", now=timezone.now() - 10 * DAY, days=9),
    "not yet valid": lambda folder: peers.signed_by(folder, "issuing", now=timezone.now() + 2 * DAY),
    "a server's": of_a_server,
    "signed by a device": below_a_device,
}


@pytest.mark.parametrize("who", STRANGERS)
def test_shuts_out(who, tmp_path):
    assert not peers.let_in(STRANGERS[who](tmp_path))
    assert peers.let_in(peers.enrolled(tmp_path))


def test_lets_in_a_certificate_of_the_issuing_ca_by_the_root_alone(tmp_path):
    """A second issuing CA needs no restart: the broker trusts the root, the device sends the chain."""
    assert (settings.BROKER_DIRECTORY / "ca.pem").read_text() == Authority.objects.get(kind="root").certificate
    assert peers.let_in(peers.signed_by(tmp_path, "issuing"))


@pytest.mark.parametrize("user", ["", "portal", "d-device"])
def test_nobody_enters_the_internal_listener_without_the_portals_password(user):
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    if user:
        client.username_pw_set(user, "guess")
    answers = []
    client.on_connect = lambda _c, _d, _f, reason, _p: answers.append(reason)
    client.connect("127.0.0.1", outgoing.connect_options(mqtt.Client(CallbackAPIVersion.VERSION2))[1])
    while not answers and client.loop(timeout=1) == mqtt.MQTT_ERR_SUCCESS:
        pass
    assert [reason.is_failure for reason in answers] == [True]


def test_a_revoked_device_is_cut_off_and_cannot_come_back_while_others_stay(tmp_path, mosquitto_server):
    bad, good = peers.enrolled(tmp_path), peers.enrolled(tmp_path)
    with (
        peers.portal("#") as portal,
        peers.device(bad, will=(bad.topic("status"), b"gone")) as revoked,
        peers.device(good) as other,
    ):
        certificates.revoke(peers.certificate_of(bad), "stolen", None, timezone.now())
        assert shut_out([bad.device_id]) == 1
        peers.reload(mosquitto_server)
        peers.eventually(lambda: revoked.ended, what="cut off")
        portal.got(bad.topic("status"), b"gone")
        peers.eventually(lambda: not peers.let_in(bad), what="shut out")
        other.publish(good.topic("event"), b"still here")
        portal.got(good.topic("event"), b"still here")
        assert not other.ended
    assert peers.let_in(good)


def test_a_quarantined_device_is_heard_on_status_and_command_answers_only(tmp_path, mosquitto_server):
    ill, well = peers.enrolled(tmp_path), peers.enrolled(tmp_path)
    Device.objects.filter(device_id=ill.device_id).update(state=Device.State.QUARANTINED)
    broker.write_all(timezone.now())
    with peers.portal("#", "$aws/#") as portal, peers.device(ill) as device, peers.device(well) as other:
        peers.reload(mosquitto_server)

        def is_silenced():
            device.publish(ill.topic("event"), b"first")
            device.publish(ill.topic("status"), b"then")
            portal.got(ill.topic("status"), b"then")
            heard = (ill.topic("event"), b"first") in portal.received
            portal.received.clear()
            return not heard

        peers.eventually(is_silenced)
        device.subscribe("#", ill.topic("cmd"), ill.topic("ota"))
        for channel in ("telemetry", "event", "update_status", "certificate/csr", "status", "cmd/ack"):
            device.publish(ill.topic(channel), b"word")
            device.publish(ill.topic("telemetry", "c-1"), b"word")
            other.publish(well.topic(channel), b"word")
        device.publish(f"$aws/things/{ill.device_id}/shadow/update", b"word")
        for channel in ("ota", "certificate/renew", "certificate/issued", "cmd"):
            portal.publish(ill.topic(channel), b"order")
        device.got(ill.topic("cmd"), b"order")
        device.publish(ill.topic("cmd/ack"), b"last")
        portal.got(ill.topic("cmd/ack"), b"last")
        said = {topic for topic, payload in portal.received if payload == b"word" and ill.device_id in topic}
        assert said == {ill.topic("status"), ill.topic("cmd/ack")}
        assert (well.topic("telemetry"), b"word") in portal.received
        assert device.topics() == {ill.topic("cmd")}


def test_an_answer_to_a_device_is_delivered_as_json(tmp_path):
    mine = peers.enrolled(tmp_path)
    with peers.device(mine) as device:
        device.subscribe(mine.topic("telemetry/stored"))
        topic = outgoing.contract.Topic.parse(mine.topic("telemetry/stored"))
        outgoing.publisher.publish(topic, outgoing.contract.Settled([], []), expiry_seconds=10)
        peers.eventually(lambda: device.received)
        assert json.loads(device.received[0][1]) == {"stored": [], "refused": []}


@pytest.mark.parametrize(
    ("part", "other", "told"),
    [("@127.0.0.1:", "@127.0.0.1:1?", ConnectionRefusedError), ("portal:", "portal:x", outgoing.BrokerSilentError)],
    ids=["away", "lets the portal not in"],
)
def test_a_cut_that_cannot_be_said_to_have_happened_raises(settings, part, other, told):
    outgoing.cut("d-any")
    settings.MQTT_URL = settings.MQTT_URL.replace(part, other)
    with pytest.raises(told):
        outgoing.cut("d-any")


def test_a_broker_that_accepts_and_never_answers_is_not_waited_for_for_ever(settings, monkeypatch):
    monkeypatch.setattr(outgoing, "_CONNECT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings.MQTT_URL = f"mqtt://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(outgoing.BrokerSilentError):
            outgoing.cut("d-any")
