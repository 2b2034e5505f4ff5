"""CA keys in a PKCS#11 token (a hardware security module): made there, used there, never seen here.

Needs the extra `pkcs11`. One session for each process and token, opened at the first use.
"""

import contextlib
import functools
import os
import threading
from collections.abc import Callable
from typing import NoReturn, Self, TypeVar, cast

import pkcs11
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.utils import Buffer
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass, PKCS11Error
from pkcs11.util.ec import encode_ec_public_key, encode_named_curve_parameters

from devices.errors import CertificateError

_PIN_REFUSED = (pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange, pkcs11.PinLocked, pkcs11.PinExpired)
_PRIVATE = {
    Attribute.PRIVATE: True,
    Attribute.SENSITIVE: True,
    Attribute.EXTRACTABLE: False,
}
Result = TypeVar("Result")


class TokenKeys:
    """P-256 keys by label in the token of this label. Safe for threads."""

    def __init__(self, module: str, token: str, pin: str) -> None:
        self._module, self._token, self._pin = module, token, pin
        self._lock = threading.Lock()
        self._session: pkcs11.Session | None = None
        self._pin_refused = False

    def make(self, name: str) -> "TokenKey":
        """Make a key inside the token. Raises FileExistsError rather than make a second one of the same name."""

        def generate(session: pkcs11.Session) -> None:
            if list(session.get_objects({Attribute.LABEL: name})):
                raise FileExistsError(name)
            curve = {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
            session.create_domain_parameters(KeyType.EC, curve, local=True).generate_keypair(
                id=name.encode(),
                label=name,
                store=True,
                capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
                private_template=_PRIVATE,
            )

        self._use(name, generate)
        return self.load(name)

    def load(self, name: str) -> "TokenKey":
        """A key to sign with. Raises `CertificateError` (ca_key_unavailable) when the token or key is not there."""

        def find(session: pkcs11.Session) -> bytes:
            session.get_key(object_class=ObjectClass.PRIVATE_KEY, label=name)
            public = session.get_key(object_class=ObjectClass.PUBLIC_KEY, label=name)
            return encode_ec_public_key(cast("pkcs11.PublicKey", public))

        public = serialization.load_der_public_key(self._use(name, find))
        if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
            raise CertificateError(f"The CA key {name!r} is not a P-256 key.", "ca_key_unavailable", 503)
        return TokenKey(self, name, public)

    def sign_digest(self, name: str, digest: bytes) -> bytes:
        """ECDSA over a digest, r and s one after the other. Raises `CertificateError` (ca_key_unavailable)."""

        def sign(session: pkcs11.Session) -> bytes:
            key = session.get_key(object_class=ObjectClass.PRIVATE_KEY, label=name)
            return bytes(cast("pkcs11.SignMixin", key).sign(digest, mechanism=Mechanism.ECDSA))

        return self._use(name, sign)

    def _use(self, name: str, action: Callable[[pkcs11.Session], Result]) -> Result:
        """Carry out with the session; a session that broke is opened once more, for a token that came back."""
        with self._lock:
            try:
                try:
                    return action(self._session or self._open())
                except _PIN_REFUSED:
                    raise
                except PKCS11Error:
                    self._session = None
                    return action(self._open(afresh=True))
            except PKCS11Error as error:
                self._session = None
                # Tokens lock themselves after a few wrong attempts: this process makes no second one.
                self._pin_refused = self._pin_refused or isinstance(error, _PIN_REFUSED)
                raise CertificateError(
                    f"The CA key {name!r} cannot be opened: {type(error).__name__}.", "ca_key_unavailable", 503
                ) from error

    def _open(self, *, afresh: bool = False) -> pkcs11.Session:
        if self._pin_refused:
            raise pkcs11.PinIncorrect
        library = pkcs11.lib(self._module)
        if afresh:
            # Only a library that starts anew looks again which tokens there are.
            with contextlib.suppress(PKCS11Error):
                library.finalize()
            library.initialize()
        self._session = library.get_token(token_label=self._token).open(rw=True, user_pin=self._pin)
        return self._session


class TokenKey(ec.EllipticCurvePrivateKey):
    """What `cryptography` takes for a private key and signs X.509 with; the signing happens in the token."""

    def __init__(self, keys: TokenKeys, name: str, public: ec.EllipticCurvePublicKey) -> None:
        self._keys, self._name, self._public = keys, name, public

    def sign(self, data: Buffer, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """ECDSA with SHA-256, DER. Raises ValueError for another hash, `CertificateError` (ca_key_unavailable)."""
        if not isinstance(signature_algorithm.algorithm, hashes.SHA256):
            raise ValueError("CA keys in a token sign with SHA-256 only.")
        digest = hashes.Hash(hashes.SHA256())
        digest.update(data)
        raw = self._keys.sign_digest(self._name, digest.finalize())
        half = len(raw) // 2
        return utils.encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """The public half."""
        return self._public

    @property
    def curve(self) -> ec.EllipticCurve:
        """P-256."""
        return self._public.curve

    @property
    def key_size(self) -> int:
        """Bits."""
        return self._public.key_size

    def _stays(self) -> NoReturn:
        raise TypeError("This key stays in its token.")

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> bytes:
        """Not what CA keys are for. Raises TypeError."""
        self._stays()

    def private_numbers(self) -> ec.EllipticCurvePrivateNumbers:
        """Never. Raises TypeError."""
        self._stays()

    def private_bytes(
        self,
        encoding: serialization.Encoding,
        format: serialization.PrivateFormat,  # noqa: A002 (the interface's word)
        encryption_algorithm: serialization.KeySerializationEncryption,
    ) -> bytes:
        """Never. Raises TypeError."""
        self._stays()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[object, object]) -> Self:
        return self


@functools.lru_cache(maxsize=4)
def token_keys(module: str, token: str, pin: str) -> TokenKeys:
    """The keys of a token; the same object, and so the same session, each time."""
    return TokenKeys(module, token, pin)


# A forked worker inherits neither a session nor a lock that somebody may have held.
os.register_at_fork(after_in_child=token_keys.cache_clear)
