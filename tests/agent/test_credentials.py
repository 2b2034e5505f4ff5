"""What lies on a device's disk, and what is made of it."""

from pathlib import Path

import pytest

from agent import credentials, identity
from agent.identity import Identity, IdentityError
from devices.contract import IssuedCertificate
from tests.agent.authority import Authority


@pytest.fixture
def directory(enrolled: Identity) -> Path:
    return enrolled.credentials.parent


def renewed(directory: Path, authority: Authority, enrolled: Identity) -> Identity:
    """The next one, kept."""
    request = credentials.request(directory, "d-1")
    issued = IssuedCertificate(authority.sign(request.csr, "d-1"), authority.root.read_text())
    return credentials.keep(directory, enrolled.enrolment, request, issued)


def test_the_newest_comes_first_and_nothing_twice(directory: Path, authority: Authority, enrolled: Identity) -> None:
    first = renewed(directory, authority, enrolled)
    assert [one.serial for one in credentials.load(directory)] == [first.serial, enrolled.serial]
    credentials.promote(directory, enrolled)
    second = renewed(directory, authority, enrolled)
    found = credentials.load(directory)
    assert [one.serial for one in found] == [second.serial, first.serial, enrolled.serial]
    identity.write(directory / credentials.PREVIOUS, (directory / credentials.CURRENT).read_bytes())
    assert [one.serial for one in credentials.load(directory)] == [second.serial, first.serial]


def test_the_one_before_is_kept_for_a_generation(directory: Path, authority: Authority, enrolled: Identity) -> None:
    first = renewed(directory, authority, enrolled)
    (current, previous) = credentials.promote(directory, enrolled)
    assert (current.serial, previous.serial) == (first.serial, enrolled.serial)
    second = renewed(directory, authority, enrolled)
    (current, previous) = credentials.promote(directory, current)
    assert (current.serial, previous.serial) == (second.serial, first.serial)
    renewed(directory, authority, enrolled)
    (_, previous_again) = credentials.promote(directory, previous)  # the one in use was the previous
    assert previous_again.serial == first.serial


def test_the_only_one_left_needs_no_predecessor(directory: Path, authority: Authority, enrolled: Identity) -> None:
    new = renewed(directory, authority, enrolled)
    (directory / credentials.CURRENT).write_bytes(b"garbage")
    assert [one.serial for one in credentials.promote(directory, None)] == [new.serial]


def test_a_request_is_open_until_its_certificate_is_kept(
    directory: Path, authority: Authority, enrolled: Identity
) -> None:
    assert credentials.pending(directory, [enrolled]) is None
    request = credentials.request(directory, "d-1")
    again = credentials.pending(directory, [enrolled])
    assert again is not None
    assert (again.csr, again.key.private_numbers()) == (request.csr, request.key.private_numbers())
    content = (directory / credentials.PENDING).read_bytes()
    issued = IssuedCertificate(authority.sign(request.csr, "d-1"), "")
    new = credentials.keep(directory, enrolled.enrolment, request, issued)
    assert not (directory / credentials.PENDING).exists()
    (directory / credentials.PENDING).write_bytes(content)  # the power went before the deletion
    assert credentials.pending(directory, [new, enrolled]) is None


@pytest.mark.parametrize("cut", [0, 10, 200, 300])
def test_a_damaged_request_is_none(directory: Path, enrolled: Identity, cut: int) -> None:
    credentials.request(directory, "d-1")
    path = directory / credentials.PENDING
    path.write_bytes(path.read_bytes()[:cut])
    assert credentials.pending(directory, [enrolled]) is None


def test_a_request_of_another_key_is_none(directory: Path, enrolled: Identity) -> None:
    csr = identity.csr(identity.new_key(), "d-1")
    (directory / credentials.PENDING).write_text(identity.key_pem(identity.new_key()) + csr)
    assert credentials.pending(directory, [enrolled]) is None


@pytest.mark.parametrize("name", [identity.ENROLMENT, identity.ENROLMENT_COPY])
def test_one_copy_of_the_enrolment_is_enough(directory: Path, enrolled: Identity, name: str) -> None:
    (directory / name).write_bytes(b"garbage")
    (known,) = credentials.load(directory)
    assert known.enrolment == enrolled.enrolment
    for other in (identity.ENROLMENT, identity.ENROLMENT_COPY):
        (directory / other).write_bytes(b"garbage")
    with pytest.raises(IdentityError, match="damaged"):
        credentials.load(directory)


def damages(content: bytes, stranger: bytes) -> dict[str, bytes]:
    leaf = content.index(b"-----BEGIN CERT")
    return {
        "nothing": b"",
        "half": content[: len(content) // 2],
        "no key": content[leaf:],
        "no certificate": content[:leaf],
        "half a chain": content[:-100],
        "another key": stranger[: stranger.index(b"-----BEGIN CERT")] + content[leaf:],
    }


@pytest.mark.parametrize("damage", damages(b"-----BEGIN CERT", b"-----BEGIN CERT"))
def test_damage_is_named_and_passed_over_where_there_is_another(
    directory: Path, authority: Authority, enrolled: Identity, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    new = renewed(directory, authority, enrolled)
    stranger = new.credentials.read_bytes()
    path = directory / credentials.CURRENT
    path.write_bytes(damages(path.read_bytes(), stranger)[damage])
    assert [one.serial for one in credentials.load(directory)] == [new.serial]
    assert "credentials.pem is damaged" in caplog.text
    new.credentials.unlink()
    with pytest.raises(IdentityError, match="damaged"):
        credentials.load(directory)
