import asyncio
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import httpx
import pytest

from agent import enroll, identity
from agent.backoff import Backoff
from agent.enroll import Application, EnrolmentError
from agent.identity import Enrolment
from tests.agent.authority import Authority
from tests.agent.portal import Answer, EnrolmentDoor

QUICK = Backoff(first=0.01, cap=0.05)


@pytest.fixture
def door(authority: Authority) -> EnrolmentDoor:
    return EnrolmentDoor(authority)


@pytest.fixture
def url(door: EnrolmentDoor) -> Iterator[str]:
    with door.open() as address:
        yield address


def apply(url: str, tmp_path: Path, authority: Authority, claim: str = "claim") -> Enrolment:
    application = Application(claim, "pump", "serial-1", identity.request(tmp_path, "serial-1"))

    async def ask() -> Enrolment:
        async with enroll.client(url, authority.root) as http:
            return await enroll.enroll(http, application, Random(1), QUICK)

    return asyncio.run(ask())


def test_a_claim_and_a_request_become_an_identity(url: str, tmp_path: Path, authority: Authority) -> None:
    answer = apply(url, tmp_path, authority)
    assert (answer.device_id, answer.tenant, answer.device_type) == ("d-serial-1", "acme", "pump")
    assert (answer.endpoints.mqtt.host, answer.endpoints.mqtt.port) == ("127.0.0.1", 8883)
    identity.store(tmp_path, answer)


def claim_file(folder: Path, root: Authority) -> Path:
    """A claim certificate of a root of its own, with its key and chain."""
    key = identity.new_key()
    path = folder / "claim.pem"
    path.write_bytes(identity.bundle(key, root.sign(identity.csr(key, "claim"), "claim"), root.root.read_text()))
    return path


def test_a_claim_certificate_does_what_a_token_does_and_no_token_is_sent(tmp_path: Path, authority: Authority) -> None:
    folders = [tmp_path / name for name in ("claims", "strangers")]
    for folder in folders:
        folder.mkdir()
    claims, strangers = map(Authority, folders)
    door = EnrolmentDoor(authority, claims=claims.root)
    application = Application("", "pump", "serial-1", identity.request(tmp_path / "d", "serial-1"))

    async def ask(claim: Path | None) -> Enrolment:
        async with enroll.client(url, authority.root, claim=claim) as http, asyncio.timeout(1):
            return await enroll.enroll(http, application, Random(1), QUICK)

    with door.open() as url:
        answer = asyncio.run(ask(claim_file(tmp_path, claims)))
        assert answer.device_id == "d-serial-1"
        with pytest.raises(EnrolmentError, match="claim_unknown"):
            asyncio.run(ask(None))
        asked = len(door.asked)
        with pytest.raises(EnrolmentError, match="claim_certificate_refused"):  # the door does not even listen
            asyncio.run(ask(claim_file(tmp_path, strangers)))
        assert len(door.asked) == asked


@pytest.mark.parametrize("content", [None, b"", b"garbage"])
def test_a_claim_certificate_that_cannot_be_read_is_an_error(
    tmp_path: Path, authority: Authority, content: bytes | None
) -> None:
    path = tmp_path / "claim.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(OSError):
        enroll.client("https://localhost", authority.root, claim=path)


@pytest.mark.parametrize(
    "answer",
    [
        (202, {"Retry-After": "0"}, {}),
        (202, {}, {}),
        (429, {"Retry-After": "1"}, {}),
        (429, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, {}),
        (503, {}, {}),
        (500, {}, {"error_code": "oops", "detail": "x"}),
    ],
)
def test_pending_and_busy_portals_are_asked_again_with_the_same_request(
    url: str, door: EnrolmentDoor, tmp_path: Path, authority: Authority, answer: Answer
) -> None:
    door.script.extend([answer, answer])
    assert apply(url, tmp_path, authority).device_id == "d-serial-1"
    assert len(door.asked) == 3
    assert len({question["csr"] for question in door.asked}) == 1


def test_a_wrong_claim_is_a_clear_error(url: str, tmp_path: Path, authority: Authority) -> None:
    with pytest.raises(EnrolmentError, match="claim_unknown: no such claim") as caught:
        apply(url, tmp_path, authority, claim="wrong")
    assert caught.value.error_code == "claim_unknown"


@pytest.mark.parametrize(
    ("answer", "code"), [((200, {}, {"device_id": "d-1"}), "bad_answer"), ((404, {}, {}), "unknown")]
)
def test_an_answer_that_makes_no_sense_is_an_error(
    url: str, door: EnrolmentDoor, tmp_path: Path, authority: Authority, answer: Answer, code: str
) -> None:
    door.script.append(answer)
    with pytest.raises(EnrolmentError, match=code):
        apply(url, tmp_path, authority)


def test_an_unreachable_portal_is_waited_for(door: EnrolmentDoor, tmp_path: Path, authority: Authority) -> None:
    with door.open() as address:
        pass  # nobody listens there now
    application = Application("claim", "pump", "serial-1", identity.request(tmp_path, "serial-1"))

    async def ask() -> None:
        async with enroll.client(address, authority.root) as http, asyncio.timeout(0.5):
            await enroll.enroll(http, application, Random(1), QUICK)

    began = time.monotonic()
    with pytest.raises(TimeoutError):
        asyncio.run(ask())
    assert time.monotonic() - began >= 0.5


def test_a_portal_of_another_authority_is_not_told_the_claim(url: str, door: EnrolmentDoor, tmp_path: Path) -> None:
    stranger = Authority(tmp_path)

    async def ask() -> httpx.Response:
        async with enroll.client(url, stranger.root) as http:
            return await http.get("/")

    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        asyncio.run(ask())
    assert door.asked == []


def test_a_missing_ca_file_is_an_error_not_a_fallback(tmp_path: Path) -> None:
    with pytest.raises((OSError, ssl.SSLError)):
        enroll.client("https://localhost", tmp_path / "missing.pem")
