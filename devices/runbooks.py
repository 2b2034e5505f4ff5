"""Which kinds of finding there are, and which page in docs/runbooks helps with each: docs/runbooks/README.md in code.

Pure. Each room adds its own kinds; a test holds this and the page against each other.
"""

from collections.abc import Mapping

INDEX = "README.md"
"""Where a kind has no page of its own: its line there says what to do first."""
COMPROMISED = "compromised-device.md"
BACKLOG, BAD_RELEASE = "backlog.md", "bad-release.md"
CA_EXPIRY, CRL_EXPIRY, LOST_KEY, MASS = "ca-expiry.md", "crl-expiry.md", "lost-ca-key.md", "mass-re-enrolment.md"

_pages: dict[str, str] = {
    "ca_key_unavailable": LOST_KEY,
    "certificate_fell_back": INDEX,
    "certificate_proof_false": COMPROMISED,
    "clock_ahead": INDEX,
    "clock_behind": INDEX,
    "expired_certificate_used": MASS,
    "forged_header": COMPROMISED,
    "key_reused": COMPROMISED,
    "renewal_failed": MASS,
    "renewal_loop": INDEX,
    "revoked_certificate_used": COMPROMISED,
    "topic_mismatch": COMPROMISED,
    "unknown_child": INDEX,
}


def add_kinds(pages: Mapping[str, str]) -> None:
    """Register kinds of finding, each with its page; called once at start by an AppConfig."""
    _pages.update(pages)


def kinds() -> list[str]:
    """All kinds that can be raised."""
    return sorted(_pages)


def page(kind: str) -> str:
    """The file in docs/runbooks."""
    return _pages.get(kind, INDEX)
