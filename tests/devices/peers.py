"""Both ends of MQTT for tests: devices with certificates, the portal's clients, and waiting for what must come."""

import os
import signal
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import paho.mqtt.client as mqtt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.conf import settings
from django.utils import timezone
from paho.mqtt.enums import CallbackAPIVersion

from devices import authorities, claims, contract, enrollment, outgoing, pki
from devices.models import Certificate, Device
from tests.factories import DeviceTypeFactory, TenantFactory


def eventually(condition: Callable[[], object], seconds: float = 15, what: str = "") -> object:
    """Wait until the condition is true and return what it returned."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what or condition}"
        time.sleep(0.01)
    return result


@dataclass(frozen=True)
class Identity:
    """A device's key and certificate chain on disk, as a device keeps them."""

    device_id: str
    certfile: Path
    keyfile: Path
    tenant: str = "t"
    device_type: str = "y"

    def topic(self, channel: str, child: str = "") -> str:
        return str(contract.Topic(self.tenant, self.device_type, self.device_id, channel, child))


def csr(key=None, subject="whatever") -> str:
    """A request in PEM."""
    key = key or pki.new_key()
    request = x509.CertificateSigningRequestBuilder().subject_name(pki.name(subject)).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def claim_token(tenant=None, device_type=None, **changes) -> str:
    """A claim that admits devices."""
    asked = {"name": "test", "max_devices": 100, "lifetime": timedelta(days=1), "now": timezone.now()} | changes
    made = claims.make_claim(tenant=tenant or TenantFactory(), device_type=device_type or DeviceTypeFactory(), **asked)
    return made[1]


def enrolled(folder: Path, token: str | None = None) -> Identity:
    """A device, enrolled for real."""
    token = token or claim_token()
    claim = claims.of_token(token)
    key = pki.new_key()
    hardware_id = os.urandom(6).hex()
    result = enrollment.enroll(claim, claim.device_type.slug, hardware_id, csr(key).encode(), timezone.now())
    return on_disk(
        folder, result.device.device_id, key, result.certificate.pem + result.chain,
        claim.tenant.slug, claim.device_type.slug,
    )  # fmt: skip


def on_disk(folder: Path, device_id: str, key: ec.EllipticCurvePrivateKey, certificates: str, *names: str) -> Identity:
    """Write key and certificates as files."""
    stem = os.urandom(4).hex()
    certfile, keyfile = folder / f"{stem}.pem", folder / f"{stem}.key"
    certfile.write_text(certificates)
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    keyfile.write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))
    return Identity(device_id, certfile, keyfile, *names)


def signed_by(folder: Path, kind: str, device_id: str = "d-stranger", *, now=None, days: int = 30) -> Identity:
    """A certificate of one of our authorities that no row knows."""
    ca, key = authorities.signer(kind), pki.new_key()
    lifetime, now = timedelta(days=days), now or timezone.now()
    leaf = pki.sign_device(device_id, key.public_key(), ca.certificate, ca.key, lifetime, now)
    return on_disk(folder, device_id, key, pki.pem(leaf) + authorities.chain(ca.row))


class Peer:
    """A connected MQTT client that remembers what it got."""

    def __init__(self, client: mqtt.Client, host: str, port: int, **connect) -> None:
        self.client = client
        self.received: list[tuple[str, bytes]] = []
        self.ended = False
        self._acknowledged: set[int] = set()
        client.on_message = lambda _c, _d, message: self.received.append((message.topic, bytes(message.payload)))
        client.on_subscribe = client.on_publish = lambda _c, _d, mid, *_: self._acknowledged.add(mid)
        client.on_disconnect = self._on_disconnect
        client.connect(host, port, **connect)
        client.loop_start()
        eventually(client.is_connected, what="connected")

    def _on_disconnect(self, client, *_) -> None:
        self.ended = True
        client.disconnect()  # a client that came back by itself would hide that it was cut

    def subscribe(self, *filters: str, qos: int = 1) -> "Peer":
        """Subscribe, and wait until the broker knows."""
        for each in filters:
            _, mid = self.client.subscribe(each, qos)
            eventually(lambda mid=mid: mid in self._acknowledged, what=f"SUBACK of {each}")
        return self

    def publish(self, topic: str, payload: bytes = b"x", *, retain: bool = False) -> None:
        """Publish at QoS 1, and wait for the PUBACK: what comes later was published later."""
        mid = self.client.publish(topic, payload, qos=1, retain=retain).mid
        eventually(lambda: mid in self._acknowledged, what=f"PUBACK of {topic}")

    def got(self, topic: str, payload: bytes) -> None:
        """Wait for a message: the condition after which everything published before it has arrived, too."""
        eventually(lambda: (topic, payload) in self.received, what=f"{payload!r} on {topic}")

    def topics(self) -> set[str]:
        return {topic for topic, _ in self.received}

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@contextmanager
def device(identity: Identity, client_id: str = "", will: tuple[str, bytes] | None = None) -> Iterator[Peer]:
    """A device as in the field: MQTT 3.1.1 over mutual TLS."""
    client = _device_client(identity, client_id)
    if will:
        client.will_set(*will, qos=1)
    peer = Peer(client, "127.0.0.1", settings.DEVICE_MQTT_PORT)
    try:
        yield peer
    finally:
        peer.close()


def _device_client(identity: Identity | None, client_id: str = "") -> mqtt.Client:
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id or "anything", protocol=mqtt.MQTTv311)
    files = (str(identity.certfile), str(identity.keyfile)) if identity else (None, None)
    client.tls_set(str(settings.BROKER_DIRECTORY / "ca.pem"), *files)
    return client


@contextmanager
def portal(*filters: str, client_id: str = "") -> Iterator[Peer]:
    """A client on the internal listener, as the portal's own."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv5)
    host, port = outgoing.connect_options(client)
    peer = Peer(client, host, port, clean_start=True)
    try:
        yield peer.subscribe(*filters)
    finally:
        peer.close()


def let_in(identity: Identity | None) -> bool:
    """Does the broker admit this certificate? Ends with a CONNACK or with the connection, never by patience."""
    client = _device_client(identity)
    try:
        client.connect("127.0.0.1", settings.DEVICE_MQTT_PORT)
        while not client.is_connected():
            if client.loop(timeout=1):
                return False
    except (ssl.SSLError, ConnectionError):
        return False
    client.disconnect()
    return True


def reload(program) -> None:
    """Tell this test's broker that its files were replaced."""
    wanted = [str(part).encode() for part in program.argv]
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            argv = entry.read_bytes().split(b"\0")[:-1]
        except OSError:
            continue  # it ended meanwhile
        if argv == wanted:
            os.kill(int(entry.parent.name), signal.SIGHUP)
            return
    raise AssertionError("the broker does not run")


def row(identity: Identity) -> Device:
    return Device.objects.get(device_id=identity.device_id)


def certificate_of(identity: Identity) -> Certificate:
    return Certificate.objects.get(device__device_id=identity.device_id)
