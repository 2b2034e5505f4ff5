"""The way back for a device whose certificates expired while it was away: EST simplereenroll (RFC 7030) over HTTPS."""

from __future__ import annotations

import asyncio
import logging
import ssl
from base64 import b64decode, b64encode
from dataclasses import dataclass
from pathlib import Path
from random import Random

import httpx
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs7

from agent.backoff import Backoff
from devices.contract import IssuedCertificate

logger = logging.getLogger(__name__)

PATH = "/.well-known/est/simplereenroll"
CAS_PATH = "/.well-known/est/cacerts"
BUSY = Backoff(first=10, cap=600)
"""While the portal cannot be reached or is busy."""
REFUSED = Backoff(first=300, cap=3600)
"""While it refuses: somebody has to do something about it."""
PENDING_SECONDS = 60.0
TIMEOUT_SECONDS = 20.0
_TRY_AGAIN = (408, 425, 429)


@dataclass(frozen=True, slots=True)
class Door:
    """Where to ask; `gate` bounds how many devices of the process ask at once."""

    server: str
    ca_file: Path
    gate: asyncio.Semaphore


class Later(Exception):
    """No certificate yet: ask again after so many seconds."""

    def __init__(self, text: str, seconds: float, status: int = 0) -> None:
        super().__init__(f"{text}, asks again in {seconds:.0f} s")
        self.seconds = seconds
        self.status = status
        """Of the portal's refusal; 0 where it was none."""


async def reenroll(door: Door, credentials: Path, csr: str, attempt: int, rng: Random) -> IssuedCertificate:
    """Ask once for a certificate, as the holder of an expired one. Raises Later, whatever went wrong."""
    busy = BUSY.half_jitter(attempt, rng)
    try:
        async with door.gate:
            response, cas = await _ask(door, credentials, csr)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise Later(f"cannot reach the portal: {error!r}", busy) from error
    status, named = response.status_code, _retry_after(response)
    if status == httpx.codes.ACCEPTED:
        raise Later("waits for approval", min(named or PENDING_SECONDS, REFUSED.cap))
    if status >= httpx.codes.INTERNAL_SERVER_ERROR or status in _TRY_AGAIN:
        raise Later(f"the portal answers {status}", min(max(busy, named), REFUSED.cap))
    refused = REFUSED.half_jitter(attempt, rng)
    if status != httpx.codes.OK:
        raise Later(f"the portal refuses, {status}: {response.text[:200]}", refused, status)
    try:
        return unpack(response.content, cas, csr)
    except ValueError as error:
        raise Later(f"the answer makes no sense: {error}", refused) from error


def unpack(answer: bytes, cas: bytes, csr: str) -> IssuedCertificate:
    """The certificate for a request, with its chain, from two answers of Base64 of PKCS#7: the leaf comes alone.

    Raises ValueError if they are not in there.
    """
    try:
        found = pkcs7.load_der_pkcs7_certificates(b64decode(answer))
        known = [*found, *pkcs7.load_der_pkcs7_certificates(b64decode(cas))]
        wanted = x509.load_pem_x509_csr(csr.encode()).public_key()
        leaf = next((one for one in found if one.public_key() == wanted), None)
    except Exception as error:  # what the parser raises for garbage is not only ValueError
        raise ValueError(f"not certificates: {error!r}") from error
    if leaf is None:
        raise ValueError(f"{len(found)} certificates, none for this device's key")
    return IssuedCertificate(_pem(leaf), "".join(_pem(one) for one in _chain(leaf, known)))


def _chain(leaf: x509.Certificate, known: list[x509.Certificate]) -> list[x509.Certificate]:
    """Who signed the leaf, who signed that one, up to but without a root. Raises ValueError where one is missing."""
    chain = [leaf]
    while chain[-1].issuer != chain[-1].subject:
        above = next((one for one in known if one not in chain and _signed(chain[-1], one)), None)
        if above is None:
            raise ValueError(f"nobody knows who signed {chain[-1].subject.rfc4514_string()}")
        chain.append(above)
    return chain[1:-1]


def _signed(below: x509.Certificate, above: x509.Certificate) -> bool:
    try:
        below.verify_directly_issued_by(above)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


async def _ask(door: Door, credentials: Path, csr: str) -> tuple[httpx.Response, bytes]:
    """The portal's answer, and where it is a certificate, the CAs it names."""
    tls = await asyncio.to_thread(tls_context, door.ca_file, credentials)
    der = x509.load_pem_x509_csr(csr.encode()).public_bytes(serialization.Encoding.DER)
    async with httpx.AsyncClient(base_url=door.server, verify=tls, timeout=TIMEOUT_SECONDS) as http:
        headers = {"Content-Type": "application/pkcs10", "Content-Transfer-Encoding": "base64"}
        response = await http.post(PATH, content=b64encode(der), headers=headers)
        if response.status_code != httpx.codes.OK:
            return response, b""
        cas = await http.get(CAS_PATH)
        return response, cas.raise_for_status().content


def tls_context(ca_file: Path, credentials: Path) -> ssl.SSLContext:
    """For a client that trusts one CA file and shows these credentials; blocks. Raises OSError for unusable files."""
    context = ssl.create_default_context(cafile=str(ca_file))
    context.load_cert_chain(credentials)
    return context


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _retry_after(response: httpx.Response) -> float:
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else 0.0
