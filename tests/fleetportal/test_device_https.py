"""The devices' HTTPS door as a process: TLS, sockets, restarts. What its views answer: tests/devices/test_doors.py."""

import base64
import http.client
import shutil
import socket
import ssl
import subprocess
import sys
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from devices import pki
from devices.models import Certificate, Finding
from fleetportal import device_https, env
from tests.devices import https_door as https
from tests.devices import peers

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("ca")]
REENROLL = "/.well-known/est/simplereenroll"


def header(who):
    """What a proxy says of a client (RFC 9440)."""
    der = x509.load_pem_x509_certificate(who.certfile.read_bytes()).public_bytes(serialization.Encoding.DER)
    return f":{base64.b64encode(der).decode()}:"


@pytest.fixture(scope="module")
def plain_door(_authorities, tmp_path_factory):
    """Behind a proxy, which is this process."""
    log = tmp_path_factory.mktemp("plain-door") / "log"
    with https.opened(log, "--plain", CLIENT_CERTIFICATE_PROXIES="127.0.0.1,::1", SECURE_COOKIES="true") as door:
        yield door


@pytest.fixture
def folder(tmp_path):
    """Certificate files that may be replaced without anybody else noticing."""
    copy = tmp_path / "broker"
    shutil.copytree(settings.BROKER_DIRECTORY, copy)
    return copy


def versions(door, **limits):
    context = door.context()
    for name, value in limits.items():
        setattr(context, name, value)
    with (
        socket.create_connection(("localhost", door.port)) as line,
        context.wrap_socket(line, server_hostname="localhost") as channel,
    ):
        return channel.version()


def test_speaks_tls_1_2_and_1_3_and_nothing_older(https_door):
    assert versions(https_door) == "TLSv1.3"
    assert versions(https_door, maximum_version=ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
    with pytest.raises(OSError), pytest.warns(DeprecationWarning, match="TLSv1"):
        versions(https_door, minimum_version=ssl.TLSVersion.TLSv1, maximum_version=ssl.TLSVersion.TLSv1_1)


def test_asks_for_a_certificate_but_answers_without(https_door):
    assert https_door.ask("GET", "/livez").status == 200


def test_speaks_no_plain_http_where_tls_is_spoken(https_door):
    with pytest.raises(OSError):
        http.client.HTTPConnection("localhost", https_door.port, timeout=10).request("GET", "/livez")
        line = http.client.HTTPConnection("localhost", https_door.port, timeout=10)
        line.request("GET", "/livez")
        line.getresponse()


def test_every_request_of_a_connection_is_told_of_the_certificate(https_door, tmp_path):
    who = peers.enrolled(tmp_path)
    line = http.client.HTTPSConnection("localhost", https_door.port, timeout=30, context=https_door.context(who))
    for _ in range(2):
        line.request("POST", REENROLL, b"nothing")
        answer = line.getresponse()
        assert (answer.status, b"csr_refused" in answer.read()) == (400, True)
    line.close()
    assert Certificate.objects.get().first_seen_at is not None


def test_a_header_is_not_believed_and_the_true_hop_is_noted(https_door, tmp_path):
    told = {"Client_Cert": header(peers.enrolled(tmp_path)), "X_Forwarded_For": "10.0.0.1"}
    answer = https_door.ask("POST", REENROLL, b"", **told)
    assert (answer.status, answer.code) == (400, "forged_header")
    assert Finding.objects.get().subject == "127.0.0.1"
    assert Certificate.objects.get().first_seen_at is None


def test_behind_a_proxy_the_header_names_the_caller(plain_door, tmp_path):
    who = peers.enrolled(tmp_path)
    answer = plain_door.ask("POST", REENROLL, peers.csr().encode(), Client_Cert=header(who))
    assert answer.status == 200, answer.text
    assert Certificate.objects.count() == 2
    without = plain_door.ask("POST", REENROLL, peers.csr().encode())
    assert (without.status, without.code) == (401, "claim_missing")


def test_behind_a_proxy_an_underscore_makes_another_header(plain_door, tmp_path):
    """Proxies that replace the true one may let it through from their client."""
    line = http.client.HTTPConnection("localhost", plain_door.port, timeout=30)
    line.request("POST", REENROLL, peers.csr().encode(), {"Client_Cert": header(peers.enrolled(tmp_path))})
    answer = line.getresponse()
    assert (answer.status, b"claim_missing" in answer.read()) == (401, True)
    line.close()


def test_the_plain_door_sends_nobody_elsewhere(plain_door):
    """Though SECURE_COOKIES would redirect people: TLS is the proxy's."""
    assert plain_door.ask("GET", "/livez").status == 200


@pytest.mark.parametrize("told", ["its length", "in chunks"])
def test_a_body_without_end_is_refused_before_it_is_stored(https_door, told):
    size = settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1
    body = b"x" * size if told == "its length" else iter([b"x" * 100_000] * 11)
    assert https_door.ask("POST", https.PROVISION, body).status == 413


def test_replaced_files_are_taken_up_by_the_same_process_and_nobody_is_turned_away(folder, tmp_path, ca):
    with https.opened(tmp_path / "log", BROKER_DIRECTORY=str(folder)) as door:
        before = ssl.get_server_certificate(("localhost", door.port))
        key = pki.new_key()
        now = x509.load_pem_x509_certificate(before.encode()).not_valid_before_utc + pki.CLOCK_SKEW
        leaf = pki.sign_server(["localhost"], key.public_key(), ca.certificate, ca.key, timedelta(days=2), now)
        text = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        put(folder / "server.key", text.decode())
        put(folder / "server.pem", pki.pem(leaf) + pki.pem(ca.certificate))

        def renewed():
            assert door.ask("GET", "/livez").status == 200  # refused connections raise
            return ssl.get_server_certificate(("localhost", door.port)) == pki.pem(leaf)

        peers.eventually(renewed, 30, what="the new certificate")
        assert door.process.poll() is None
        assert door.ask("GET", "/livez").status == 200


def put(path: Path, text: str) -> None:
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").replace(path)


def test_takes_over_a_listening_socket(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as keeper:
        number, port = keeper.fileno(), keeper.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-m", "fleetportal.device_https", f"--fd={number}"],
            cwd=https.ROOT, env=https.environment(), pass_fds=[number],
        )  # fmt: skip
        try:
            door = https.Door(port, process, tmp_path / "none")
            # Nobody is turned away while it starts: who connects waits.
            assert door.ask("GET", "/livez").status == 200
            assert door.ask("GET", "/livez", Client_Cert="x").status == 200, "only doors of devices look at it"
            answer = door.ask("POST", "/.well-known/est/simpleenroll", b"", Client_Cert="x")
            assert answer.code == "forged_header"
            assert Finding.objects.get().subject == "127.0.0.1"
        finally:
            process.terminate()
            process.wait(20)


@pytest.mark.parametrize("arguments", [[], ["--plain"], ["--fd=1", "--port=1"], ["--port=x"]])
def test_arguments_that_make_no_sense_are_refused(arguments, capsys):
    with pytest.raises(SystemExit):
        device_https.main(arguments)
    assert "usage: python -m fleetportal.device_https" in capsys.readouterr().err


def test_missing_certificate_files_end_it_with_an_error(settings, tmp_path):
    settings.BROKER_DIRECTORY = tmp_path
    with pytest.raises(OSError):
        device_https.door(plain=False)


def test_listens_where_it_is_told():
    with device_https.listen("127.0.0.1", 0) as one, device_https.listen("::1", 0) as other:
        assert one.getsockname()[0] == "127.0.0.1"
        assert other.getsockname()[0] == "::1"


def test_what_it_accepts_sends_at_once():
    with device_https.listen("127.0.0.1", 0) as door, socket.create_connection(door.getsockname()):
        accepted, _ = door.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_proxies_are_addresses_or_networks(monkeypatch):
    monkeypatch.setenv("A_TEST", "10.0.0.7, fd00::/8")
    assert env.networks("A_TEST", "", []) == [ip_network("10.0.0.7"), ip_network("fd00::/8")]
    assert env.networks("ANOTHER_TEST", "", []) == []
    for wrong in "proxy.example", "10.0.0.1/8", "*":
        monkeypatch.setenv("A_TEST", wrong)
        with pytest.raises(ImproperlyConfigured, match="A_TEST"):
            env.networks("A_TEST", "", [])
    for name in "A_TEST", "ANOTHER_TEST":
        env.NAMES.pop(name)
