import threading

import pytest
from cryptography import x509
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from devices import authorities, ca_rules, pki
from devices.errors import CertificateError
from devices.models import Authority, Event
from tests.fleetportal.workers import workers


@pytest.fixture
def none_yet(db, settings, tmp_path):
    """A database and a folder without authorities."""
    settings.CA_DIRECTORY = tmp_path / "ca"
    Authority.objects.all().update(issued_by=None)
    Authority.objects.all().delete()


def certificate(kind):
    return authorities.parsed(Authority.objects.get(kind=kind))


@pytest.mark.parametrize("backend", ["file", "pkcs11"])
def test_makes_a_root_an_issuing_ca_below_it_and_a_separate_claim_root_once(none_yet, token, settings, backend):
    settings.CA_KEY_BACKEND = backend
    assert authorities.make_all(timezone.now()) is True
    assert authorities.make_all(timezone.now()) is False
    assert sorted(Authority.objects.values_list("kind", "key_backend")) == [
        (kind, backend) for kind in ("claim", "issuing", "root")
    ]
    root, issuing, claim = (certificate(kind) for kind in ("root", "issuing", "claim"))
    issuing.verify_directly_issued_by(root)
    claim.verify_directly_issued_by(claim)
    assert not ca_rules.issued_by(claim, root)
    assert issuing.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    for row in Authority.objects.all():
        signer = authorities.open_signer(row)
        assert pki.key_fingerprint(signer.key.public_key()) == ca_rules.fingerprint(signer.certificate)


def test_the_making_is_evidence(none_yet):
    authorities.make_all(timezone.now())
    told = Event.objects.filter(kind="authority.made", actor="make_ca")
    assert sorted(event.detail["kind"] for event in told) == ["claim", "issuing", "root"]


def test_no_row_holds_a_key(none_yet):
    authorities.make_all(timezone.now())
    for row in Authority.objects.values():
        assert "PRIVATE" not in str(row)


def test_the_signer_is_the_active_issuing_ca_with_its_own_key(none_yet):
    authorities.make_all(timezone.now())
    signer = authorities.signer()
    assert signer.row.kind == "issuing"
    assert pki.key_fingerprint(signer.key.public_key()) == pki.key_fingerprint(signer.certificate.public_key())


def test_a_ca_in_a_token_stands_beside_one_in_a_file(none_yet, token, settings):
    authorities.make_all(timezone.now())
    settings.CA_KEY_BACKEND = "pkcs11"
    second = authorities.make(
        "second", "issuing", authorities.signer("root"), authorities.ISSUING_LIFETIME, timezone.now()
    )
    first = Authority.objects.get(kind="issuing", active=True)
    assert [row.key_backend for row in (first, second.row)] == ["file", "pkcs11"]
    for row in (first, second.row):
        signer = authorities.open_signer(row)
        leaf = pki.sign_device(
            "d-1",
            pki.new_key().public_key(),
            signer.certificate,
            signer.key,
            authorities.ISSUING_LIFETIME,
            timezone.now(),
        )
        leaf.verify_directly_issued_by(signer.certificate)


def test_signing_before_there_is_a_ca_says_what_to_do(none_yet):
    with pytest.raises(CertificateError, match="make_ca") as refusal:
        authorities.signer()
    assert (refusal.value.code, refusal.value.status) == ("no_authority", 503)


def test_the_chain_goes_up_to_the_root_and_leaves_it_out(none_yet):
    authorities.make_all(timezone.now())
    issuing = Authority.objects.get(kind="issuing")
    assert authorities.chain(issuing) == issuing.certificate
    assert authorities.chain(Authority.objects.get(kind="root")) == ""


def test_the_database_keeps_one_active_authority_of_a_kind(none_yet):
    authorities.make_all(timezone.now())
    row = Authority.objects.get(kind="issuing")
    row.pk, row.name = None, "second"
    with pytest.raises(IntegrityError), transaction.atomic():
        row.save()
    row.active = False
    row.save()
    assert authorities.signer().row.name != "second"


def test_the_command_makes_them_and_refuses_to_do_so_twice(none_yet):
    call_command("make_ca")
    with pytest.raises(CommandError, match="already"):
        call_command("make_ca")
    call_command("make_ca", if_missing=True)
    call_command("make_ca", "--if-missing")
    assert Authority.objects.count() == 3


@pytest.mark.django_db(transaction=True)
def test_two_processes_that_start_at_once_make_one_ca(settings, tmp_path):
    settings.CA_DIRECTORY = tmp_path / "ca"
    Authority.objects.all().update(issued_by=None)
    Authority.objects.all().delete()
    together = threading.Barrier(3)

    def make():
        connection.ensure_connection()
        together.wait(10)
        return authorities.make_all(timezone.now())

    with workers(3) as team:
        made = [each.begin(make) for each in team]
        assert sorted(each.result(30) for each in made) == [False, False, True]
    assert Authority.objects.count() == 3
    assert len(list((tmp_path / "ca").iterdir())) == 3
