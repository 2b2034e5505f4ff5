"""From one CA to the next, through `manage.py make_ca` as an operator types it."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from django.core.management import CommandError

from devices import authorities, broker, certificates, pki
from devices.models import Authority, Event
from tests.devices import peers
from tests.devices.offline import NOW, YEAR, Offline, events, kinds, make_ca
from tests.factories import DeviceFactory


@pytest.fixture
def folder(fresh_ca):
    return fresh_ca


@pytest.fixture
def empty(folder):
    Authority.objects.all().update(issued_by=None)
    Authority.objects.all().delete()
    return folder


def requested(folder, name="Issuing CA 2"):
    make_ca("request", "--name", name, "--out", folder / "issuing.csr")
    return folder / "issuing.csr"


# --- the offline root -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("backend", ["file", "pkcs11"])
def test_the_first_ca_comes_from_an_offline_root(empty, token, settings, backend):
    settings.CA_KEY_BACKEND = backend
    root = Offline(empty, f"Offline {backend}")
    signed = root.sign(requested(empty, f"First {backend}"))
    assert "issues from now on" in make_ca("install", "--certificate", signed, "--root", root.pem)
    assert kinds() == [
        ("claim", "Fleetportal claim root", True),
        ("issuing", f"First {backend}", True),
        ("root", f"Offline {backend}", True),
    ]
    assert Authority.objects.get(kind="root").key_backend == "none"
    device = DeviceFactory()
    row = certificates.issue(device, pki.read_request(peers.csr().encode()), NOW)
    leaf = x509.load_pem_x509_certificate(row.pem.encode())
    issuing = authorities.parsed(Authority.objects.get(kind="issuing"))
    leaf.verify_directly_issued_by(issuing)
    issuing.verify_directly_issued_by(root.certificate)
    assert (settings.BROKER_DIRECTORY / "ca.pem").read_text() == root.pem.read_text()


def test_a_request_is_repeated_with_the_same_key(folder):
    first = pki.read_request(requested(folder).read_bytes())
    second = pki.read_request(requested(folder).read_bytes())
    assert first.public_key() == second.public_key()
    assert pki.read_request(requested(folder, "Issuing CA 3").read_bytes()).public_key() != first.public_key()
    assert not Authority.objects.filter(name="Issuing CA 2").exists(), "not an authority before it is signed"
    assert len(events("authority.requested")) == 3


def test_what_is_to_be_compared_at_the_ceremony_is_shown(folder):
    told = make_ca("request", "--name", "Issuing CA 2", "--out", folder / "x.csr")
    assert pki.key_fingerprint(pki.read_request((folder / "x.csr").read_bytes()).public_key()) in told


def test_a_second_ca_waits_until_it_is_activated(folder):
    root = Offline(folder)
    signed = root.sign(requested(folder))
    told = make_ca("install", "--certificate", signed, "--root", root.pem)
    assert 'make_ca activate "Issuing CA 2"' in told
    assert authorities.signer().row.name == "Fleetportal issuing CA 1"
    make_ca("activate", "Issuing CA 2")
    assert authorities.signer().row.name == "Issuing CA 2"
    assert events("authority.activated") == [{"name": "Issuing CA 2", "before": ["Fleetportal issuing CA 1"]}]
    assert "already" in make_ca("activate", "Issuing CA 2")
    assert len(events("authority.activated")) == 1


def test_an_installation_may_be_repeated(folder):
    root = Offline(folder)
    signed = root.sign(requested(folder))
    for _ in range(2):
        make_ca("install", "--certificate", signed, "--root", root.pem)
    assert Authority.objects.filter(name="Issuing CA 2").count() == 1
    assert Authority.objects.filter(kind="root").count() == 2


def test_both_roots_are_trusted_while_one_succeeds_the_other(folder, settings):
    old = Authority.objects.get(kind="root").certificate
    root = Offline(folder)
    make_ca("install", "--certificate", root.sign(requested(folder)), "--root", root.pem)
    assert (settings.BROKER_DIRECTORY / "ca.pem").read_text() == old + root.pem.read_text()
    make_ca("activate", "Issuing CA 2")
    leaf, issuing = x509.load_pem_x509_certificates((settings.BROKER_DIRECTORY / "server.pem").read_bytes())
    leaf.verify_directly_issued_by(issuing)
    issuing.verify_directly_issued_by(x509.load_pem_x509_certificate(old.encode()))  # devices know that one
    make_ca("give-up", "Fleetportal issuing CA 1", "--reason", "all devices know the new root")
    leaf, issuing = x509.load_pem_x509_certificates((settings.BROKER_DIRECTORY / "server.pem").read_bytes())
    issuing.verify_directly_issued_by(root.certificate)


def foreign_key(folder, root):
    request = x509.CertificateSigningRequestBuilder().subject_name(pki.name("Issuing CA 2"))
    path = folder / "foreign.csr"
    path.write_bytes(request.sign(pki.new_key(), hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return root.sign(path)


def never_requested(folder, root):
    path = folder / "never.csr"
    path.write_text(peers.csr(subject="Never"))
    return root.sign(path)


def profile(folder, root, *, ca=True, length=0, usage=True, crl=True):
    """The requested key in a certificate with another profile."""
    key = pki.read_request((folder / "issuing.csr").read_bytes()).public_key()
    builder = pki._builder("Issuing CA 2", key, root.certificate.subject, root.key.public_key(), NOW + YEAR, NOW)
    builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=length), critical=True)
    wanted = pki._usage(ca=True)
    parts = {name: getattr(wanted, f"_{name}") for name in ("digital_signature", "content_commitment",
             "key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only")}  # fmt: skip
    builder = builder.add_extension(x509.KeyUsage(key_cert_sign=usage, crl_sign=crl, **parts), critical=True)
    return root.write(builder.sign(root.key, hashes.SHA256()))


MISTAKES = {
    "another root": (lambda f, _: Offline(f, "Another").sign(f / "issuing.csr"), "not signed by this root"),
    "another key": (foreign_key, "not for the key that was requested"),
    "never requested": (never_requested, "No key of 'Never' can be opened in the backend file"),
    "no CA": (lambda f, r: profile(f, r, ca=False, length=None), "not a CA certificate"),
    "a long path": (lambda f, r: profile(f, r, length=1), "path length must be 0"),
    "any path": (lambda f, r: profile(f, r, length=None), "path length must be 0"),
    "no keyCertSign": (lambda f, r: profile(f, r, usage=False), "keyCertSign"),
    "no cRLSign": (lambda f, r: profile(f, r, crl=False), "cRLSign"),
    "expired": (lambda f, r: r.sign(f / "issuing.csr", YEAR, NOW - 2 * YEAR), "expired on"),
    "not yet valid": (lambda f, r: r.sign(f / "issuing.csr", YEAR, NOW + YEAR), "valid only from"),
    "the root itself": (lambda _, r: r.pem, "path length must be 0"),
    "no file": (lambda f, _: f / "missing.pem", "missing.pem cannot be read: No such file"),
    "no certificate": (lambda f, _: f / "issuing.csr", "issuing.csr: This is not a certificate in PEM"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_bad_certificate_is_named_and_changes_nothing(folder, mistake):
    root = Offline(folder)
    requested(folder)
    before = kinds()
    make, words = MISTAKES[mistake]
    with pytest.raises(CommandError, match=words):
        make_ca("install", "--certificate", make(folder, root), "--root", root.pem)
    assert kinds() == before


def test_a_chain_in_one_file_and_a_root_that_is_none_are_refused(folder):
    root = Offline(folder)
    signed = root.sign(requested(folder))
    both = folder / "both.pem"
    both.write_text(signed.read_text() + root.pem.read_text())
    with pytest.raises(CommandError, match="holds 2 certificates"):
        make_ca("install", "--certificate", both, "--root", root.pem)
    with pytest.raises(CommandError, match="not a root certificate"):
        make_ca("install", "--certificate", signed, "--root", signed)
    short = Offline(folder, "Short root", YEAR, NOW - 2 * YEAR)
    with pytest.raises(CommandError, match="expired on"):
        make_ca(
            "install", "--certificate", short.sign(folder / "issuing.csr", YEAR, NOW - 2 * YEAR), "--root", short.pem
        )


@pytest.mark.parametrize("name", ["", " x", "x" * 65, "a\nb"])
def test_a_name_that_cannot_be_one_is_refused(folder, name):
    for step in (["request", "--out", folder / "x.csr"], ["issuing"]):
        with pytest.raises(CommandError, match="1 to 64 printable characters"):
            make_ca(*step, "--name", name)


def test_a_name_that_is_taken_is_refused(folder):
    for step in (["request", "--out", folder / "x.csr"], ["issuing"]):
        with pytest.raises(CommandError, match="already"):
            make_ca(*step, "--name", "Fleetportal issuing CA 1")
    with pytest.raises(CommandError, match="cannot be written"):
        make_ca("request", "--name", "X", "--out", folder / "no" / "such")


# --- the root that is here ------------------------------------------------------------------------------------------
def test_a_root_that_is_here_makes_a_second_issuing_ca_at_once(folder):
    make_ca("issuing", "--name", "Issuing CA 2")
    row = Authority.objects.get(name="Issuing CA 2")
    assert not row.active
    authorities.parsed(row).verify_directly_issued_by(authorities.parsed(row.issued_by))
    assert authorities.open_signer(row).key.public_key() == authorities.parsed(row).public_key()
    assert broker.crl_der(row.pk), "its list is there before its first certificate"


def test_a_root_that_is_not_here_says_so(empty):
    root = Offline(empty)
    make_ca("install", "--certificate", root.sign(requested(empty)), "--root", root.pem)
    with pytest.raises(CommandError, match="not on this machine"):
        make_ca("issuing", "--name", "Issuing CA 3")


def test_from_file_to_hardware_by_a_second_ca(folder, token, settings):
    settings.CA_KEY_BACKEND = "pkcs11"
    make_ca("issuing", "--name", "Issuing CA in hardware")
    make_ca("activate", "Issuing CA in hardware")
    row = certificates.issue(DeviceFactory(), pki.read_request(peers.csr().encode()), NOW)
    assert row.authority.key_backend == "pkcs11"
    broker.write_all(NOW)
    lists = [x509.load_der_x509_crl(broker.crl_der(ca.pk)) for ca in Authority.objects.filter(kind="issuing")]
    assert len(lists) == 2


def test_only_an_issuing_ca_with_its_key_is_activated(folder, settings):
    with pytest.raises(CommandError, match="no such authority 'Fleetportal device root'; there are: 'Fleetportal iss"):
        make_ca("activate", "Fleetportal device root")
    make_ca("issuing", "--name", "Issuing CA 2")
    row = Authority.objects.get(name="Issuing CA 2")
    path = settings.CA_DIRECTORY / f"{row.key_name}.key"
    text = path.read_bytes()
    path.write_bytes((settings.CA_DIRECTORY / f"{authorities.signer().row.key_name}.key").read_bytes())
    with pytest.raises(CommandError, match="not that of its certificate"):
        make_ca("activate", "Issuing CA 2")
    path.unlink()
    with pytest.raises(CommandError, match="cannot be opened"):
        make_ca("activate", "Issuing CA 2")
    path.write_bytes(text)
    Authority.objects.filter(pk=row.pk).update(not_after=NOW)
    with pytest.raises(CommandError, match="expired on"):
        make_ca("activate", "Issuing CA 2")
    assert authorities.signer().row.name == "Fleetportal issuing CA 1"


# --- giving up ------------------------------------------------------------------------------------------------------
def test_the_active_ca_cannot_be_given_up(folder):
    with pytest.raises(CommandError, match="activate another one first"):
        make_ca("give-up", "Fleetportal issuing CA 1", "--reason", "lost")


def test_giving_up_is_told_once(folder):
    make_ca("issuing", "--name", "Issuing CA 2")
    make_ca("activate", "Issuing CA 2")
    for _ in range(2):
        make_ca("give-up", "Fleetportal issuing CA 1", "--reason", "the disk broke")
    row = Authority.objects.get(name="Fleetportal issuing CA 1")
    assert (row.active, row.key_backend) == (False, "none")
    told = Event.objects.get(kind="authority.given_up")
    assert (told.reason, told.detail["key_backend"]) == ("the disk broke", "file")
    with pytest.raises(CommandError, match="not on this machine"):
        make_ca("activate", "Fleetportal issuing CA 1")
