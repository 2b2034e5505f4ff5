"""Does a door of the broker open for somebody who shows nothing? Really knocks. Knows no Django."""

import secrets
import socket
import ssl

SECONDS = 3.0
"""Longest wait for each answer (s)."""
_LET_IN = b"\x20\x02"  # CONNACK; its last byte is 0 when the client was let in
_DISCONNECT = b"\xe0\x00"


def admits(host: str, port: int, *, tls: bool) -> bool | None:
    """Is an anonymous client let in, over TLS without a certificate or without TLS? None: there is no door at all."""
    try:
        plain = socket.create_connection((host, port), timeout=SECONDS)
    except OSError:
        return None
    try:
        with plain, _wrapped(plain, host) if tls else plain as door:
            door.sendall(_connect())
            answer = door.recv(4)
            opened = answer[:2] == _LET_IN and answer[3:] == b"\0"
            if opened:
                door.sendall(_DISCONNECT)
            return opened
    except OSError:  # hung up on, a TLS alert, or silence
        return False


def _wrapped(plain: socket.socket, host: str) -> ssl.SSLSocket:
    # Whom we talk to does not matter: nothing is said to them, and a door that lets strangers in is wrong in any case.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(plain, server_hostname=host)


def _connect() -> bytes:
    """CONNECT of MQTT 3.1.1 (OASIS, 3.1): clean session, keep-alive 10 s, no user name."""
    client_id = f"audit-{secrets.token_hex(6)}".encode()
    body = b"\x00\x04MQTT\x04\x02\x00\x0a" + len(client_id).to_bytes(2, "big") + client_id
    return b"\x10" + bytes([len(body)]) + body
