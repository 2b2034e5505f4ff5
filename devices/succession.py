"""How authorities succeed one another: requested, installed, activated, given up. All is evidence.

A second issuing CA stands beside the first: new certificates come from the active one, the other goes on signing its
revocation list until it is given up or expires. Every step can be repeated, and a crash between two does no harm.
"""

import hashlib
import re
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.conf import settings

from devices import authorities, ca_rules, evidence, keys, pki
from devices.errors import CertificateError
from devices.models import Authority, Event

Kind, Backend = Authority.Kind, Authority.Backend


def request(name: str) -> str:
    """Make the key of an issuing CA to come, and its request for the ceremony (PKCS#10, PEM).

    The key waits in CA_KEY_BACKEND under a name derived from the CA's; asked again, the same key is requested again.
    Raises `CertificateError`, and `CertificateRefused` for a name that cannot be one.
    """
    ca_rules.check_name(name)
    with authorities.one_at_a_time():
        _refuse_taken(name)
        key = _obtain(_waiting_key(name))
        detail = {"name": name, "key": pki.key_fingerprint(key.public_key()), "key_backend": settings.CA_KEY_BACKEND}
        evidence.record("authority.requested", actor=authorities.ACTOR, detail=detail)
    made = x509.CertificateSigningRequestBuilder().subject_name(pki.name(name)).sign(key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode()


def waits_for_ceremony() -> bool:
    """Was an issuing CA requested where there is none yet? Then no start-up may make one with an online root."""
    requested = Event.objects.filter(kind="authority.requested").exists()
    return requested and not Authority.objects.filter(kind=Kind.ISSUING).exists()


def requested_key(text: str) -> str:
    """The fingerprint of the key of a request (SHA-256, hex), to compare at the ceremony."""
    return pki.key_fingerprint(pki.read_request(text.encode()).public_key())  # type: ignore[arg-type]  # ours are P-256


def install(certificate: x509.Certificate, root: x509.Certificate, now: datetime) -> Authority:
    """Add the issuing CA that the ceremony signed, and its root where that is new.

    The first one becomes active. Raises `CertificateError` and `CertificateRefused`.
    """
    ca_rules.check_root(root, now)
    ca_rules.check_issuing(certificate, root, now)
    name = ca_rules.common_name(certificate.subject)
    with authorities.one_at_a_time():
        present = Authority.objects.filter(name=name, kind=Kind.ISSUING, certificate=pki.pem(certificate)).first()
        if present is not None:
            return present
        _refuse_taken(name)
        try:
            key = keys.backend().load(_waiting_key(name))
        except CertificateError as error:
            place = settings.CA_KEY_BACKEND
            raise CertificateError(
                f"No key of {name!r} can be opened in the backend {place}; was it requested here?", "not_requested", 409
            ) from error
        if pki.key_fingerprint(key.public_key()) != ca_rules.fingerprint(certificate):
            raise CertificateError(f"The certificate is not for the key that was requested for {name!r}.", "other_key")
        row = authorities.add(name, Kind.ISSUING, certificate, _root(root), settings.CA_KEY_BACKEND, _waiting_key(name))
        authorities.make_claim_root(now)
    return row


def make_issuing(name: str, now: datetime) -> Authority:
    """Make a second issuing CA below the active root, whose key must be here. Raises `CertificateError`."""
    ca_rules.check_name(name)
    with authorities.one_at_a_time():
        _refuse_taken(name)
        root = authorities.signer(Kind.ROOT)
        ca_rules.check_root(root.certificate, now)
        return authorities.make(name, Kind.ISSUING, root, authorities.ISSUING_LIFETIME, now).row


def activate(name: str, now: datetime) -> bool:
    """Let this issuing CA sign from now on. Returns False when it did before. Raises `CertificateError`."""
    with authorities.one_at_a_time():
        row = named(name, Kind.ISSUING)
        if row.active:
            return False
        if row.not_after <= now:
            raise CertificateError(f"{name!r} expired on {row.not_after:%F}.", "authority_expired", 409)
        signer = authorities.open_signer(row)
        if pki.key_fingerprint(signer.key.public_key()) != ca_rules.fingerprint(signer.certificate):
            raise CertificateError(f"The key of {name!r} is not that of its certificate.", "other_key", 409)
        before = Authority.objects.filter(kind=Kind.ISSUING, active=True)
        detail = {"name": name, "before": list(before.values_list("name", flat=True))}
        before.update(active=False)
        Authority.objects.filter(pk=row.pk).update(active=True)
        evidence.record("authority.activated", actor=authorities.ACTOR, detail=detail)
        return True


def give_up(name: str, reason: str) -> Authority:
    """An issuing CA whose key is lost signs no more lists; a maker's CA is no longer trusted. Safe to repeat.

    Raises `CertificateError` for the active issuing CA: another one must sign before.
    """
    with authorities.one_at_a_time():
        row = named(name, Kind.ISSUING, Kind.MAKER)
        if row.kind == Kind.ISSUING and row.active:
            raise CertificateError(
                f"{name!r} is the active issuing CA: activate another one first.", "authority_active"
            )
        given_up = not row.active if row.kind == Kind.MAKER else row.key_backend == Backend.NONE
        if not given_up:
            detail = {"name": name, "kind": row.kind, "key_backend": row.key_backend, "key_name": row.key_name}
            evidence.record("authority.given_up", actor=authorities.ACTOR, reason=reason, detail=detail)
        Authority.objects.filter(pk=row.pk).update(active=False, key_backend=Backend.NONE)
        return row


def register_maker(name: str, certificate: x509.Certificate, now: datetime) -> Authority:
    """Admit devices born with a certificate of this CA. Raises `CertificateError` and `CertificateRefused`."""
    ca_rules.check_name(name)
    ca_rules.check_authority(certificate, now)
    with authorities.one_at_a_time():
        for row in Authority.objects.all():
            theirs = authorities.parsed(row)
            if row.kind == Kind.MAKER and theirs == certificate and row.name == name and row.active:
                return row
            if ca_rules.same_key(theirs, certificate) or ca_rules.issued_by(certificate, theirs):
                what = "or its root is registered already" if row.kind == Kind.MAKER else "is ours"
                raise CertificateError(f"This CA {what}: {row.name!r}.", "authority_known", 409)
        _refuse_taken(name)
        return authorities.add(name, Kind.MAKER, certificate, None, Backend.NONE, "")


def named(name: str, *kinds: str) -> Authority:
    """The authority of this name and one of these kinds. Raises `CertificateError` (not_found) with those there are."""
    row = Authority.objects.filter(name=name, kind__in=kinds).first()
    if row is None:
        known = ", ".join(
            repr(each) for each in Authority.objects.filter(kind__in=kinds).values_list("name", flat=True)
        )
        raise CertificateError(f"There is no such authority {name!r}; there are: {known or 'none'}.", "not_found", 404)
    return row


def _refuse_taken(name: str) -> None:
    if Authority.objects.filter(name=name).exists():
        raise CertificateError(f"There is an authority {name!r} already.", "name_taken", 409)


def _waiting_key(name: str) -> str:
    """The name of a requested key: readable, fit for a file and a token, and different for each CA's name."""
    readable = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40]
    return f"issuing-{readable}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _obtain(key_name: str) -> ec.EllipticCurvePrivateKey:
    try:
        return keys.backend().make(key_name)
    except FileExistsError:
        return keys.backend().load(key_name)


def _root(certificate: x509.Certificate) -> Authority:
    """The row of this root, added where it is new; its key is not here."""
    for row in Authority.objects.filter(kind=Kind.ROOT):
        if authorities.parsed(row) == certificate:
            return row
    name = ca_rules.common_name(certificate.subject)
    _refuse_taken(name)
    return authorities.add(name, Kind.ROOT, certificate, None, Backend.NONE, "")
