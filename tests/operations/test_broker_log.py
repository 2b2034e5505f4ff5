"""Lines as Mosquitto 2.0.11 wrote them; tests/operations/test_handshakes.py has it write them."""

import pytest

from operations.broker_log import ACCEPTED, REFUSED, verdict

AT = "2026-11-21T11:58:08: "


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("New client connected from 10.0.0.1:49867 as d-1 (p2, c1, k60, u'd-1').", ACCEPTED),
        ("New client connected from ::1:49867 as d-1 (p2, c1, k60, u'd-1').", ACCEPTED),
        ("New client connected from 127.0.0.1:49867 as portal-control (p5, c0, k60, u'portal').", None),
        ("New client connected from 127.0.0.1:49867 as d-1 (p5, c1, k60, u'portal').", None),
        ("Client connection from ::1 failed: error:0A0000C7:SSL routines::peer did not return a certificate.", REFUSED),
        ("Client connection from 10.0.0.1 failed: error:0A00009C:SSL routines::http request.", REFUSED),
        ("OpenSSL Error[0]: error:0A000086:SSL routines::certificate verify failed", REFUSED),
        ("OpenSSL Error[0]: error:0A0000C7:SSL routines::peer did not return a certificate", REFUSED),
        ("OpenSSL Error[0]: error:0A000418:SSL routines::tlsv1 alert unknown ca", REFUSED),
        ("OpenSSL Error[1]: error:0A000086:SSL routines::certificate verify failed", None),
        ("Client <unknown> disconnected, not authorised.", REFUSED),
        ("Client <unknown> [10.0.0.1:1234] disconnected: not authorised.", REFUSED),
        ("Client connection from 10.0.0.1 failed: error:0A000126:SSL routines::unexpected eof while reading.", None),
        ("OpenSSL Error[0]: error:0A000126:SSL routines::unexpected eof while reading", None),
        ("New connection from 10.0.0.1:49867 on port 8883.", None),
        ("Client <unknown> disconnected: Protocol error.", None),
        ("Client d-1 disconnected.", None),
        ("Client d-1 already connected, closing old connection.", None),
        ("Saving in-memory database to /var/lib/mosquitto/mosquitto.db.", None),
        ("", None),
    ],
)  # fmt: skip
def test_each_connection_is_told_once(line, wanted):
    assert verdict(AT + line, "portal") == wanted
    assert verdict(line, "portal") == wanted


def test_a_portal_without_a_name_is_taken_for_none_of_the_devices():
    assert verdict("New client connected from 1.2.3.4:5 as d-1 (p2, c1, k60, u'd-1').", "") == ACCEPTED
