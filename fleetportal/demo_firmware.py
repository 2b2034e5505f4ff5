"""Firmware to try with: a build server's key, the release devices leave the factory with, signed files to upload."""

import hashlib
import json
import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from devices.models import DeviceType
from firmware import permits, releases, signing, trust
from firmware.models import Release, TrustedKey

FACTORY = "1.0.0"
TO_TRY = {"good/agent-1.1.0.img": ("1.1.0", "good"), "bad/agent-1.2.0.img": ("1.2.0", "self_check")}
"""Files to upload: version, and how it behaves on a simulated device (agent/image.py)."""
_KEY = "build-server.key"
_LIFETIME = timedelta(days=3650)
_PAYLOAD = 256 * 1024


def seed(folder: Path, device_types: Sequence[DeviceType], now: datetime) -> dict[str, Any]:
    """Make what is missing; safe to repeat. Returns what devices are built with, and where the files lie."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = _key(folder / _KEY)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    if not TrustedKey.objects.filter(fingerprint=signing.read_public_key(public).fingerprint).exists():
        trust.add_key(
            name=f"Demo build server {now:%Y-%m-%d %H:%M:%S}",
            public_key=public.decode(),
            device_types=[],
            not_before=now - timedelta(days=1),
            not_after=now + _LIFETIME,
            user=None,
        )
    slugs = [each.slug for each in device_types]
    if not Release.objects.filter(version=FACTORY, device_types__in=device_types).exists():
        name, image = f"agent-{FACTORY}.img", _image(FACTORY, slugs, "good")
        draft = releases.Draft(FACTORY, device_types, name, notes="What devices leave the factory with.")
        releases.upload(draft, [image], [_sign(key, image, name)], now, uploaded_by="demo")
    for name, (version, health) in TO_TRY.items():
        path = folder / name
        signature = path.with_name(f"{path.name}.sig")
        if not signature.exists():
            path.parent.mkdir(exist_ok=True)
            image = _image(version, slugs, health)
            path.write_bytes(image)
            signature.write_bytes(_sign(key, image, path.name))
    return {"firmware_keys": [public.decode()], "permit_key": permits.public_key(), "firmware_files": str(folder)}


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    """The build server's own; a real one lies where releases are built, and never on the portal's machine."""
    if path.exists():
        known = serialization.load_pem_private_key(path.read_bytes(), None)
        if isinstance(known, ec.EllipticCurvePrivateKey):
            return known
    key = ec.generate_private_key(ec.SECP256R1())
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(text)
    return key


def _image(version: str, device_types: list[str], health: str) -> bytes:
    """A simulated device's image, as agent/image.py reads it; the same bytes whenever it is made."""
    head = json.dumps({"version": version, "device_types": device_types, "health": health}).encode() + b"\n"
    block = hashlib.sha256(head).digest()
    return head + block * (_PAYLOAD // len(block))


def _sign(key: ec.EllipticCurvePrivateKey, image: bytes, name: str) -> bytes:
    return key.sign(signing.manifest(hashlib.sha256(image).hexdigest(), name), ec.ECDSA(hashes.SHA256()))
