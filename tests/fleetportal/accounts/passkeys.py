"""Passkeys of people, as rows: what a browser would have sent, without one."""

from allauth.mfa.models import Authenticator
from allauth.mfa.webauthn.internal.auth import WebAuthn
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from fido2.cose import ES256
from fido2.utils import sha256, websafe_encode
from fido2.webauthn import Aaguid, AttestationObject, AttestedCredentialData, AuthenticatorData, CollectedClientData


def give_passkey(user, name="My phone", host="localhost", passwordless=True) -> Authenticator:
    """A passkey of somebody; what it signs is nowhere."""
    number = user.authenticator_set.count().to_bytes(16)
    key = ES256.from_cryptography_key(generate_private_key(SECP256R1()).public_key())
    held = AttestedCredentialData.create(Aaguid.NONE, number, key)
    flags = AuthenticatorData.FLAG.UP | AuthenticatorData.FLAG.UV | AuthenticatorData.FLAG.AT
    data = AuthenticatorData.create(sha256(host.encode()), flags, 0, held)
    asked = CollectedClientData.create("webauthn.create", b"challenge", f"http://{host}")
    told = {
        "clientDataJSON": websafe_encode(asked),
        "attestationObject": websafe_encode(AttestationObject.create("none", data, {})),
    }
    credential = {
        "id": websafe_encode(number), "rawId": websafe_encode(number), "type": "public-key", "response": told,
        "clientExtensionResults": {"credProps": {"rk": passwordless}},
    }  # fmt: skip
    return WebAuthn.add(user, name, credential).instance
