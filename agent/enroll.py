"""Enrolment: trade a claim and a certificate request for an identity, over HTTPS, for as long as it takes."""

from __future__ import annotations

import asyncio
import logging
import ssl
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random

import httpx
import msgspec

from agent.backoff import Backoff
from agent.identity import Enrolment

logger = logging.getLogger(__name__)

PATH = "/api/v1/devices/provision"
BACKOFF = Backoff(first=2, cap=300)
PENDING_SECONDS = 30.0
"""Between questions while a person has to approve, unless the server says otherwise."""
_ANSWERED = (200, 201)
_TRY_AGAIN = (408, 425, 429)


class EnrolmentError(Exception):
    """The portal refuses, and asking again would not help."""

    def __init__(self, error_code: str, detail: str) -> None:
        super().__init__(f"{error_code}: {detail}")
        self.error_code, self.detail = error_code, detail


@dataclass(frozen=True, slots=True)
class Application:
    """What a device says to get an identity; `csr` is PEM and the same every time it asks."""

    claim: str
    """A token; empty where the client's certificate is the claim."""
    device_type: str
    hardware_id: str
    csr: str


class _Problem(msgspec.Struct, frozen=True):
    error_code: str = "unknown"
    detail: str = ""
    title: str = ""


def client(server: str, ca_file: Path, parallel: int = 1, claim: Path | None = None) -> httpx.AsyncClient:
    """A client for the portal's HTTPS door that trusts nothing but the CA file and asks `parallel` questions at a time.

    `claim` is a claim certificate to show: a PEM file with key, certificate and chain. Raises OSError if a file is
    missing, empty or damaged.
    """
    tls = ssl.create_default_context(cafile=str(ca_file))
    if claim is not None:
        tls.load_cert_chain(claim)
    limits = httpx.Limits(max_connections=parallel)
    return httpx.AsyncClient(base_url=server, verify=tls, limits=limits, timeout=httpx.Timeout(30, pool=None))


async def enroll(
    http: httpx.AsyncClient, application: Application, rng: Random, backoff: Backoff = BACKOFF
) -> Enrolment:
    """Ask until there is an answer: network errors, 5xx and 429 are waited out, and so is an approval by hand (202).

    Raises EnrolmentError when the portal refuses, or answers with something that is not an identity.
    """
    for attempt in count():
        wait = backoff.half_jitter(attempt, rng)
        try:
            response = await _ask(http, application)
        except httpx.TransportError as error:
            logger.warning("%s: cannot reach the portal: %r", application.hardware_id, error)
        except ssl.SSLError as error:  # after the handshake: that is how TLS 1.3 refuses a client's certificate
            raise EnrolmentError("claim_certificate_refused", str(error)) from error
        else:
            if response.status_code in _ANSWERED:
                return _enrolment(response)
            wait = _wait(response, application, wait, backoff.cap)
        await asyncio.sleep(wait)
    raise AssertionError("count() ends")  # pragma: no cover


async def _ask(http: httpx.AsyncClient, application: Application) -> httpx.Response:
    body = {"device_type": application.device_type, "hardware_id": application.hardware_id, "csr": application.csr}
    headers = {"Authorization": f"Bearer {application.claim}"} if application.claim else {}
    return await http.post(PATH, json=body, headers=headers)


def _enrolment(response: httpx.Response) -> Enrolment:
    try:
        return msgspec.json.decode(response.content, type=Enrolment)
    except msgspec.MsgspecError as error:
        raise EnrolmentError("bad_answer", str(error)) from error


def _wait(response: httpx.Response, application: Application, backoff: float, cap: float) -> float:
    status = response.status_code
    if status == httpx.codes.ACCEPTED:
        wait = _retry_after(response, PENDING_SECONDS)
        logger.info("%s waits for approval, asks again in %.0f s", application.hardware_id, wait)
    elif status >= httpx.codes.INTERNAL_SERVER_ERROR or status in _TRY_AGAIN:
        wait = max(backoff, _retry_after(response, 0.0))
        logger.warning("%s: the portal answers %d, asks again in %.0f s", application.hardware_id, status, wait)
    else:
        raise _refusal(response)
    return min(wait, cap)


def _refusal(response: httpx.Response) -> EnrolmentError:
    try:
        problem = msgspec.json.decode(response.content, type=_Problem)
    except msgspec.MsgspecError:
        problem = _Problem(detail=response.text[:200])
    return EnrolmentError(problem.error_code, problem.detail or problem.title or f"HTTP {response.status_code}")


def _retry_after(response: httpx.Response, otherwise: float) -> float:
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else otherwise
