"""How bad is it? As tables."""

from datetime import UTC, datetime, timedelta

import pytest

from devices import auditing
from devices.auditing import CRITICAL, INFO, WARNING
from devices.models import Finding
from operations import verdicts

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
YEAR = 365 * DAY


def test_severities_are_those_of_the_rows():
    assert list(auditing.SEVERITIES) == Finding.Severity.values


@pytest.mark.parametrize(
    ("passed", "wanted"), [(0, None), (24, None), (25, WARNING), (49, WARNING), (50, CRITICAL), (99, CRITICAL)]
)
def test_a_certificate_is_worse_the_less_of_its_window_is_left(passed, wanted):
    """Of a window of 100 days."""
    assert verdicts.certificate(NOW - passed * DAY, NOW + (100 - passed) * DAY, NOW) == wanted


@pytest.mark.parametrize(
    ("kind", "left", "lifetime", "wanted"),
    [
        ("issuing", 3 * YEAR, YEAR, None),
        ("issuing", 2 * YEAR - DAY, YEAR, WARNING),
        ("issuing", YEAR - DAY, YEAR, CRITICAL),
        ("issuing", 91 * DAY, 10 * DAY, None),
        ("issuing", 89 * DAY, 10 * DAY, WARNING),
        ("issuing", 9 * DAY, 10 * DAY, CRITICAL),
        ("root", 6 * YEAR, YEAR, None),
        ("root", 4 * YEAR, YEAR, WARNING),
        ("root", YEAR, YEAR, CRITICAL),
        ("maker", 100 * DAY, YEAR, None),
        ("maker", 80 * DAY, YEAR, WARNING),
        ("claim", timedelta(0), YEAR, CRITICAL),
    ],
)
def test_an_authority_must_outlive_what_hangs_on_it(kind, left, lifetime, wanted):
    assert verdicts.authority(kind, left, lifetime) == wanted


@pytest.mark.parametrize(("hours", "wanted"), [(168, None), (49, None), (47, WARNING), (23, CRITICAL), (-1, CRITICAL)])
def test_a_revocation_list(hours, wanted):
    assert verdicts.crl(timedelta(hours=hours)) == wanted


@pytest.mark.parametrize(("days", "wanted"), [(90, None), (29, None), (20, WARNING), (6, CRITICAL), (-1, CRITICAL)])
def test_the_brokers_certificate(days, wanted):
    assert verdicts.server(days * DAY) == wanted


@pytest.mark.parametrize(
    ("algorithm", "bits", "wanted"),
    [
        ("P-256", 256, None),
        ("P-384", 384, None),
        ("Ed25519", 256, None),
        ("RSA", 4096, None),
        ("RSA", 3072, None),
        ("RSA", 2048, INFO),
        ("RSA", 2047, CRITICAL),
        ("secp224r1", 224, CRITICAL),
        ("DSAPublicKey", 3072, CRITICAL),
        ("unreadable", 0, CRITICAL),
    ],
)
def test_keys(algorithm, bits, wanted):
    assert verdicts.key(algorithm, bits) == wanted


@pytest.mark.parametrize(
    ("refused", "accepted", "wanted"),
    [
        (0, 0, None),
        (9, 0, None),
        (10, 0, WARNING),
        (10, 40, None),
        (11, 40, WARNING),
        (99, 0, WARNING),
        (100, 0, CRITICAL),
        (100, 100, WARNING),
    ],
)
def test_refused_connections_count_by_number_and_share(refused, accepted, wanted):
    assert verdicts.refusals(refused, accepted) == wanted


@pytest.mark.parametrize(
    ("boots", "wanted"),
    [
        ("aaaaaaaaa", None),
        ("aaaaaaaaaa", WARNING),
        ("abcdefghij", WARNING),
        ("aaaaabbbbb", WARNING),
        ("ababababab", CRITICAL),
        ("aaaabaaaaa", CRITICAL),
    ],
    ids=["few", "bad network", "boot loop", "one restart", "two machines", "one interruption"],
)
def test_a_boot_id_that_comes_back_is_a_second_machine(boots, wanted):
    assert verdicts.births(list(boots)) == wanted


@pytest.mark.parametrize(
    ("days", "uses", "secret", "wanted"),
    [
        (1, 0, True, None),
        (6, 10, True, None),
        (7, 10, True, ("claim_used_up", INFO)),
        (29, 0, True, None),
        (30, 0, True, ("claim_unused", INFO)),
        (89, 3, True, None),
        (90, 3, True, ("claim_old", WARNING)),
        (90, 0, True, ("claim_old", WARNING)),
        (900, 3, False, None),
        (900, 0, False, ("claim_unused", INFO)),
    ],
)
def test_claims_of_ten_devices(days, uses, secret, wanted):
    assert verdicts.claim(days * DAY, uses, 10, secret=secret) == wanted


@pytest.mark.parametrize(("hours", "wanted"), [(23, None), (24, INFO), (29 * 24, INFO), (30 * 24, WARNING)])
def test_a_device_that_never_came(hours, wanted):
    assert verdicts.never_seen(timedelta(hours=hours)) == wanted
