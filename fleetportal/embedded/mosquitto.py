"""Mosquitto with two doors: mutual TLS for devices, a password for the portal, which no device can reach."""

import base64
import hashlib
import os
import secrets
import time
from pathlib import Path
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from fleetportal.embedded import mosquitto_install
from fleetportal.embedded.place import Place
from fleetportal.embedded.private_files import write_private
from fleetportal.embedded.program import Program

PORTAL_USER = "portal"
BROKER_FILES = ("ca.pem", "server.pem", "server.key", "crl.pem", "acl")
"""Written into the broker folder by the portal before the broker starts, and replaced while it runs."""
HASH_ROUNDS = 20_000

PORTAL_ACL = f"""\
user {PORTAL_USER}
topic readwrite #
topic readwrite $aws/#
topic read $SYS/#
"""
CONFIG = """\
per_listener_settings true
# Unlike stdout not buffered: the last lines before a crash are the ones that matter.
log_dest stderr
# The portal counts refused connections (operations/handshakes.py). Devices cannot read it: no line of the ACL names it.
log_dest topic
log_timestamp_format %Y-%m-%dT%H:%M:%S
connection_messages true
sys_interval 1

# What waits here while the portal is away must survive a kill of the broker, within the interval (s).
persistence true
persistence_location {data}/
autosave_interval 5

# The defaults drop messages after 1000. Whichever limit of the two is reached first counts, for each client.
max_queued_messages 1000000
max_queued_bytes 268435456
max_inflight_messages 8192
# The portal refuses more than 256 KiB itself, and tells the device why.
message_size_limit 307200
# Larger ones are not even read into memory: the sender is cut off.
max_packet_size 1048576
set_tcp_nodelay true

listener {device_port} 127.0.0.1
tls_version tlsv1.2
cafile {broker}/ca.pem
certfile {broker}/server.pem
keyfile {broker}/server.key
crlfile {broker}/crl.pem
require_certificate true
use_identity_as_username true
use_username_as_clientid true
acl_file {broker}/acl

listener {internal_port} 127.0.0.1
allow_anonymous false
password_file {data}/passwords
acl_file {data}/portal_acl
"""


def server(place: Place, device_port: int, internal_port: int, password: str) -> Program:
    """The broker, with its configuration written. Devices' files are read from `broker_folder(place)`.

    Raises RuntimeError when Mosquitto is missing and cannot be fetched.
    """
    installed = mosquitto_install.find_or_fetch(place)
    broker = broker_folder(place)
    data = place.server_folder("mosquitto")
    config = CONFIG.format(data=data, broker=broker, device_port=device_port, internal_port=internal_port)
    write_private(data / "mosquitto.conf", config, place.account)
    write_private(data / "portal_acl", PORTAL_ACL, place.account)
    write_private(data / "passwords", f"{PORTAL_USER}:{hash_password(password)}\n", place.account)
    url = f"mqtt://{PORTAL_USER}:{password}@127.0.0.1:{internal_port}"
    return Program(
        name="mosquitto",
        argv=[str(installed.binary), "-c", str(data / "mosquitto.conf")],
        env={"TZ": "UTC", **installed.env},
        cwd=data,
        account=place.account,
        url=url,
        ports=[device_port, internal_port],
        ready=lambda: answers(url),
    )


def broker_folder(place: Place) -> Path:
    """Where the portal writes `BROKER_FILES`, and the broker reads them."""
    return place.shared_folder("broker")


def hash_password(password: str, salt: bytes | None = None) -> str:
    """PBKDF2-SHA512 in the notation of Mosquitto's password files."""
    salt = salt or os.urandom(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, HASH_ROUNDS)
    return f"$7${HASH_ROUNDS}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def answers(url: str, timeout: float = 2.0) -> bool:
    """Whether the broker of `url` lets us in within `timeout` (s)."""
    parts = urlsplit(url)
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"ready-{secrets.token_hex(8)}")
    client.username_pw_set(parts.username or "", parts.password or "")
    try:
        client.connect(parts.hostname or "127.0.0.1", parts.port or 1883)
    except OSError:
        return False
    deadline = time.monotonic() + timeout
    while not client.is_connected() and time.monotonic() < deadline:
        if client.loop(timeout=0.1):
            return False
    client.disconnect()
    return True
