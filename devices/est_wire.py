"""How EST (RFC 7030, RFC 8951) writes things: requests as clients send them, certificates as they want them. Pure."""

import base64
from collections.abc import Iterable

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs7

_SEQUENCE = b"\x30"


def request(body: bytes) -> bytes:
    """The PKCS#10 request in a body: Base64 of DER as the standard says, with or without line breaks, PEM or DER.

    What is none of these comes back as it is: whoever reads requests refuses it with a reason.
    """
    text = body.strip()
    if text.startswith((b"-----BEGIN", _SEQUENCE)):
        return text if text.startswith(b"-") else body
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)
    except ValueError:
        return body


def certs_only(certificates: Iterable[x509.Certificate]) -> bytes:
    """PKCS#7 with nothing but certificates, in Base64 on one line: strongSwan's client stops at the first break."""
    return base64.b64encode(pkcs7.serialize_certificates(list(certificates), serialization.Encoding.DER))
