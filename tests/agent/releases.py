"""Releases as a portal offers them, and the HTTPS door a device asks about them."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from agent import image
from agent.image import Header, Health
from devices.contract import Image, Offer, OfferState, Permit, Signature
from firmware.signing import PublicKey, manifest, permit_statement, read_public_key
from tests.agent.authority import Authority
from tests.agent.https import Question, Reply, serving

UPDATE = UUID(int=1)


class Signer:
    """A key that signs firmware, or permits."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        self.pem = self._key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()
        self.public: PublicKey = read_public_key(self.pem)

    @property
    def keys(self) -> dict[str, PublicKey]:
        """As a device is built with it."""
        return {self.public.fingerprint: self.public}

    def sign(self, statement: bytes) -> str:
        """Base64."""
        return b64encode(self._key.sign(statement, ec.ECDSA(hashes.SHA256()))).decode()

    def signature(self, sha256: str, file_name: str) -> Signature:
        """Over an artifact."""
        return Signature(self.public.fingerprint, self.sign(manifest(sha256, file_name)))

    def permit(self, offer: Offer, from_version: str, device_id: str = "d-1") -> Permit:
        """For one device to go back."""
        assert offer.image is not None
        statement = permit_statement(device_id, str(offer.update_id), from_version, offer.version, offer.image.sha256)
        return Permit(from_version, self.public.fingerprint, self.sign(statement))


def make_image(
    folder: Path,
    version: str = "1.1.0",
    *types: str,
    health: Health = Health.GOOD,
    size: int = 40_000,
) -> Path:
    """An image file."""
    path = folder / f"{version}.img"
    image.write(path, Header(version, list(types or ("cold-logger",)), health), size)
    return path


def make_offer(path: Path, signer: Signer, **changes: Any) -> Offer:
    """An open offer of an image."""
    if "version" not in changes:
        header = image.read(path)
        changes = {"version": header.version, "device_types": header.device_types, **changes}
    sha256 = image.sha256(path)
    signatures = [signer.signature(sha256, path.name)]
    shown = Image(path.name, path.stat().st_size, sha256, f"/api/v1/artifacts/{sha256}", signatures)
    fields = {"image": shown, **changes}
    return Offer(fields.pop("update_id", UPDATE), fields.pop("attempt", 1), OfferState.OPEN, **fields)


class UpdateDoor:
    """Answers whether an update is wanted and hands out images; `script` may answer first. Remembers the questions."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.files: dict[str, Path] = {}
        self.attempt = 1
        self.over: set[str] = set()
        """Updates that are not wanted any more."""
        self.questions: list[str] = []
        self.fetched: list[Question] = []
        self.asking: deque[Reply] = deque()
        self.fetching: deque[Callable[[Reply], Reply]] = deque()

    def hold(self, path: Path) -> None:
        """Have an image to hand out."""
        self.files[image.sha256(path)] = path

    def reply(self, question: Question) -> Reply:
        """One answer."""
        if question.certificate is None:
            return 401, {}, b""
        *_, kind, name = question.path.split("/")
        return self._wanted(name) if kind == "updates" else self._image(name, question)

    def _wanted(self, update_id: str) -> Reply:
        self.questions.append(update_id)
        if self.asking:
            return self.asking.popleft()
        if update_id in self.over:
            return 410, {}, b"{}"
        return self.wanted()

    def wanted(self) -> Reply:
        """What is said of an update that is wanted."""
        return 200, {}, json.dumps({"wanted": True, "attempt": self.attempt, "url": ""}).encode()

    def _image(self, sha256: str, question: Question) -> Reply:
        self.fetched.append(question)
        content = self.files[sha256].read_bytes()
        reply: Reply = (200, {"ETag": f'"{sha256}"'}, content)
        wanted = re.fullmatch(r"bytes=(\d+)-", question.headers.get("Range", ""))
        if wanted and question.headers.get("If-Range") == f'"{sha256}"':
            first = int(wanted[1])
            span = f"bytes {first}-{len(content) - 1}/{len(content)}"
            reply = (206, {"ETag": f'"{sha256}"', "Content-Range": span}, content[first:])
        return self.fetching.popleft()(reply) if self.fetching else reply

    @contextmanager
    def open(self) -> Iterator[str]:
        """Serve until the end of the block; gives the URL."""
        with serving(self.authority, self.reply, self.authority.root) as url:
            yield url


def broken_off(after: int) -> Callable[[Reply], Reply]:
    """Only so many bytes of the answer come."""
    return lambda reply: (reply[0], {**reply[1], "Content-Length": str(len(reply[2]))}, reply[2][:after])


def instead(status: int, **headers: str) -> Callable[[Reply], Reply]:
    """Another answer."""
    return lambda _: (status, headers, b"")
