"""The portal's permit: made once, by whoever is first, never silently again; and what it permits."""

import base64
import threading

import pytest
from django.db import connection, transaction

from devices.errors import CertificateError
from devices.key_files import FileKeys
from devices.models import Event
from firmware import audits, permits, signing
from firmware.errors import FirmwareError
from tests.firmware import fleet

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def keys(settings, tmp_path):
    """A key folder of its own."""
    settings.CA_DIRECTORY = tmp_path / "ca"
    return settings.CA_DIRECTORY


def leading_back():
    row = fleet.rollout(1, "1.4.0")[0]
    row.from_version = "2.0.0"
    return row


def test_the_first_to_ask_makes_the_key_and_leaves_evidence(keys):
    assert list(audits.permit_key(fleet.NOW)) == []
    with pytest.raises(CertificateError):
        permits.public_key(make=False)
    text = permits.public_key()
    read = signing.read_public_key(text)
    assert Event.objects.get(kind="permit_key.made").detail == {"fingerprint": read.fingerprint}
    assert permits.public_key() == permits.public_key(make=False) == text
    assert [path.name for path in keys.iterdir()] == ["permit.key"]


@pytest.mark.django_db(transaction=True)
def test_many_who_ask_at_once_get_the_same_key():
    found = []

    def ask():
        try:
            found.append(permits.public_key())
        finally:
            connection.close()

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(found), len(set(found)), Event.objects.filter(kind="permit_key.made").count()) == (6, 1, 1)


def test_a_key_whose_event_was_rolled_back_is_used(keys):
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        made = permits.public_key()
        raise ZeroDivisionError
    assert not Event.objects.exists()
    assert permits.public_key() == made


def test_a_key_that_somebody_else_puts_there_meanwhile_is_used(keys, monkeypatch):
    """Another installation on the same folder: our lock is not its lock."""
    usual = FileKeys.make

    def late(self, name):
        usual(self, name)
        return usual(self, name)

    monkeypatch.setattr(FileKeys, "make", late)
    assert permits.public_key() == permits.public_key(make=False)


def test_a_lost_key_is_not_replaced_by_one_that_no_device_believes(keys):
    permits.public_key()
    (keys / "permit.key").unlink()
    with pytest.raises(CertificateError) as error:
        permits.public_key()
    assert (error.value.status, error.value.code, list(keys.iterdir())) == (503, "ca_key_unavailable", [])
    assert [each.kind for each in audits.permit_key(fleet.NOW)] == ["permit_key_unavailable"]
    made = permits.make("the old one burnt")
    assert permits.public_key() == made
    assert list(audits.permit_key(fleet.NOW)) == []
    with pytest.raises(FileExistsError):
        permits.make("once more")


def test_where_keys_cannot_be_written_it_says_so(keys, settings):
    settings.CA_DIRECTORY = keys / "file" / "ca"
    keys.mkdir()
    (keys / "file").write_text("in the way")
    with pytest.raises(CertificateError) as error:
        permits.public_key()
    assert error.value.code == "ca_key_unavailable"
    assert not Event.objects.exists()


def test_a_permit_is_for_one_device_one_update_and_two_versions():
    row = leading_back()
    permits.sign(row)
    key = signing.read_public_key(permits.public_key())
    assert row.permit_key == key.fingerprint
    told = {
        "device_id": row.device.device_id, "update_id": str(row.update_id), "from_version": "2.0.0",
        "to_version": "1.4.0", "sha256": row.release.artifact.sha256,
    }  # fmt: skip
    permit = base64.b64decode(row.permit)
    assert key.verify(permit, signing.permit_statement(**told))
    for name in told:
        assert not key.verify(permit, signing.permit_statement(**told | {name: "another"}))


def test_nothing_is_signed_without_both_versions():
    row = leading_back()
    row.from_version = ""
    with pytest.raises(FirmwareError) as error:
        permits.sign(row)
    assert (error.value.code, row.permit) == ("no_release", "")
    permits.sign_all([])
