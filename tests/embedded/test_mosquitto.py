import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from fleetportal.embedded import mosquitto, ports
from fleetportal.embedded.place import Place
from fleetportal.embedded.program import Program, has_exited, last_lines, log_path, running, spawn
from tests.embedded.authority import TestAuthority
from tests.embedded.mqtt_client import Refused, connected, listen
from tests.embedded.waiting import wait_for


@dataclass
class Broker:
    """A running broker and its process."""

    server: Program
    device_port: int
    port: int
    logs: Path
    process: "subprocess.Popen[bytes]"

    def reload(self) -> None:
        """Send SIGHUP and wait until it was obeyed."""
        before = self.log.count("Reloading config")
        self.process.send_signal(signal.SIGHUP)
        wait_for(lambda: self.log.count("Reloading config") > before)

    @property
    def log(self) -> str:
        return log_path(self.server, self.logs).read_text()


@pytest.fixture
def broker(place: Place, logs: Path, authority: TestAuthority) -> Iterator[Broker]:
    device_port, port = ports.any_free(), ports.any_free()
    server = mosquitto.server(place, device_port, port, "secret-word")
    with ExitStack() as stack:
        process = spawn(server, logs)
        stack.callback(process.wait)
        stack.callback(process.terminate)
        wait_for(server.ready)
        yield Broker(server, device_port, port, logs, process)


def test_both_doors_open_and_messages_pass(broker: Broker, authority: TestAuthority, tmp_path: Path) -> None:
    tls, _ = authority.device("dev-1", tmp_path)
    with (
        connected(broker.port, url=broker.server.url) as (portal, received),
        connected(broker.device_port, tls) as (device, _),
    ):
        listen(portal, "/#")
        device.publish("/test/type/dev-1/telemetry", b"x" * 300_000, qos=1)
        wait_for(lambda: received == [("/test/type/dev-1/telemetry", b"x" * 300_000)])


def test_oversized_messages_are_dropped_and_huge_ones_cut_the_sender_off(
    broker: Broker, authority: TestAuthority, tmp_path: Path
) -> None:
    tls, _ = authority.device("dev-1", tmp_path)
    with (
        connected(broker.port, url=broker.server.url) as (portal, received),
        connected(broker.device_port, tls) as (device, _),
    ):
        listen(portal, "/#")
        device.publish("/test/type/dev-1/telemetry", b"x" * 400_000, qos=1)
        device.publish("/test/type/dev-1/telemetry", b"small", qos=1)
        wait_for(lambda: received == [("/test/type/dev-1/telemetry", b"small")])
        device.publish("/test/type/dev-1/telemetry", b"x" * 2_000_000, qos=1)
        wait_for(lambda: not device.is_connected())


def test_device_cannot_write_to_another_ones_topics(broker: Broker, authority: TestAuthority, tmp_path: Path) -> None:
    tls, _ = authority.device("dev-1", tmp_path)
    with (
        connected(broker.port, url=broker.server.url) as (portal, received),
        connected(broker.device_port, tls) as (device, _),
    ):
        listen(portal, "/#")
        device.publish("/test/type/dev-2/telemetry", b"foreign", qos=1)
        device.publish("/test/type/dev-1/telemetry", b"own", qos=1)
        wait_for(lambda: bool(received))
        assert received == [("/test/type/dev-1/telemetry", b"own")]


def test_device_cannot_take_another_ones_client_id(broker: Broker, authority: TestAuthority, tmp_path: Path) -> None:
    first, _ = authority.device("dev-1", tmp_path)
    second, _ = authority.device("dev-2", tmp_path)
    with connected(broker.device_port, first) as (victim, _):
        with connected(broker.device_port, second, client_id="dev-1"):
            assert victim.is_connected()
        assert "as dev-2 (" in broker.log


def test_device_door_refuses_strangers(broker: Broker, authority: TestAuthority, tmp_path: Path) -> None:
    without = ssl.create_default_context(cafile=str(authority.folder / "ca.pem"))
    foreign, _ = TestAuthority(tmp_path).device("dev-1", tmp_path, trusted=authority.folder / "ca.pem")
    for tls in without, foreign:
        with pytest.raises(Refused), connected(broker.device_port, tls):
            pass


def test_internal_door_wants_the_password(broker: Broker) -> None:
    assert broker.server.ready()
    for url in "", "mqtt://portal:wrong@localhost":
        with pytest.raises(Refused), connected(broker.port, url=url):
            pass
    assert not mosquitto.answers(broker.server.url.replace("secret-word", "wrong"))
    arguments = Path(f"/proc/{broker.process.pid}/cmdline").read_text()
    assert "secret-word" not in arguments


def test_portal_reads_counters_and_shadows(broker: Broker) -> None:
    with connected(broker.port, url=broker.server.url) as (portal, received):
        listen(portal, "$SYS/broker/publish/messages/dropped")
        listen(portal, "$aws/#")
        portal.publish("$aws/things/dev-1/shadow/get", b"shadow", qos=1)
        wait_for(lambda: {topic.split("/")[0] for topic, _ in received} == {"$SYS", "$aws"})


def test_revocation_works_after_a_reload_and_spares_others(
    broker: Broker, authority: TestAuthority, tmp_path: Path
) -> None:
    revoked, serial = authority.device("dev-1", tmp_path)
    other, _ = authority.device("dev-2", tmp_path)
    with connected(broker.device_port, revoked):
        pass
    with connected(broker.device_port, other) as (device, _):
        authority.revoked.append(serial)
        authority.write_crl()
        broker.reload()
        with pytest.raises(Refused), connected(broker.device_port, revoked):
            pass
        assert device.is_connected()


def test_server_certificate_and_acl_are_reloaded(broker: Broker, authority: TestAuthority, tmp_path: Path) -> None:
    tls, _ = authority.device("dev-1", tmp_path)
    authority.write_all(acl="pattern readwrite /other/%u/#\n")
    broker.reload()
    with (
        connected(broker.port, url=broker.server.url) as (portal, received),
        connected(broker.device_port, tls) as (device, _),
    ):
        listen(portal, "/#")
        device.publish("/test/type/dev-1/telemetry", b"old", qos=1)
        device.publish("/other/dev-1/telemetry", b"new", qos=1)
        wait_for(lambda: bool(received))
        assert received == [("/other/dev-1/telemetry", b"new")]
        assert _serial_of_server(broker.device_port, tls) == authority.server_serial


def _serial_of_server(port: int, tls: ssl.SSLContext) -> int:
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        tls.wrap_socket(plain, server_hostname="localhost") as it,
    ):
        certificate = it.getpeercert() or {}
        return int(str(certificate["serialNumber"]), 16)


def test_waiting_messages_survive_a_kill(broker: Broker, place: Place, logs: Path) -> None:
    with connected(broker.port, url=broker.server.url) as (client, _):
        client.publish("/kept", b"message", qos=1, retain=True).wait_for_publish(5)
    database = place.servers / "mosquitto" / "mosquitto.db"
    wait_for(lambda: database.exists() and b"/kept" in database.read_bytes(), timeout=15)
    os.kill(broker.process.pid, signal.SIGKILL)
    wait_for(lambda: has_exited(broker.process))
    again = spawn(broker.server, logs)
    try:
        wait_for(broker.server.ready)
        with connected(broker.port, url=broker.server.url) as (client, received):
            listen(client, "/kept")
            wait_for(lambda: received == [("/kept", b"message")])
    finally:
        again.terminate()
        again.wait()


def test_every_option_is_known_to_this_version(broker: Broker) -> None:
    assert "Error" not in last_lines(broker.server, broker.logs, 1000)
    assert "Warning" not in last_lines(broker.server, broker.logs, 1000)


def test_missing_broker_files_are_named(place: Place, logs: Path) -> None:
    server = mosquitto.server(place, ports.any_free(), ports.any_free(), "secret")
    with pytest.raises(RuntimeError, match="acl"), running(server, logs):
        pass


def test_a_second_ca_is_trusted_after_a_reload(broker: Broker, authority: TestAuthority, tmp_path: Path) -> None:
    second = TestAuthority(tmp_path, "second CA")
    second.write_all()
    for name in "ca.pem", "crl.pem":
        authority.write(name, (authority.folder / name).read_bytes() + (tmp_path / name).read_bytes())
    tls, _ = second.device("dev-1", tmp_path, trusted=authority.folder / "ca.pem")
    with pytest.raises(Refused), connected(broker.device_port, tls):
        pass
    broker.reload()
    with connected(broker.device_port, tls):
        pass


def test_broken_files_do_not_stop_a_running_broker(broker: Broker, authority: TestAuthority, tmp_path: Path) -> None:
    for name in mosquitto.BROKER_FILES:
        authority.write(name, b"broken")
    broker.reload()
    wait_for(lambda: "Unable to load server certificate" in broker.log)
    authority.write_all()
    broker.reload()
    tls, _ = authority.device("dev-1", tmp_path)
    with connected(broker.device_port, tls):
        pass
