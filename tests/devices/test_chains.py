"""What is told of certificates, and the verdict about a chain."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from devices import chains, pki

NOW = datetime(2030, 5, 1, tzinfo=UTC)
YEAR = timedelta(days=365)


@pytest.fixture(scope="module")
def made():
    """A root, an issuing CA and a leaf."""
    root_key, issuing_key = pki.new_key(), pki.new_key()
    root = pki.make_root("Root", root_key, 20 * YEAR, NOW)
    issuing = pki.make_issuing("Issuing", issuing_key.public_key(), root, root_key, 5 * YEAR, NOW)
    leaf = pki.sign_device("d-1", pki.new_key().public_key(), issuing, issuing_key, YEAR, NOW)
    return [leaf, issuing, root]


def pems(*certificates):
    return [pki.pem(each) for each in certificates]


def test_a_whole_chain_is_verified_up_to_the_root(made):
    checked = chains.check(pems(*made))
    assert [each.verified for each in checked] == [True, True, True]
    assert [each.verdict for each in checked] == [
        "Signed by CN=Issuing",
        "Signed by CN=Root",
        "Signed by itself: a root",
    ]


def test_a_certificate_below_another_authority_of_the_same_name_is_not_verified(made):
    other = pki.make_root("Issuing", pki.new_key(), YEAR, NOW)
    first, second = chains.check(pems(made[0], other))
    assert (first.verified, first.verdict) == (False, "NOT signed by CN=Issuing")
    assert second.verified


def test_a_chain_that_ends_below_its_root_is_neither_verified_nor_broken(made):
    checked = chains.check(pems(*made[:2]))
    assert [each.verified for each in checked] == [True, None]
    assert checked[1].verdict == "Signed by CN=Root, which is not kept here"


@pytest.mark.parametrize("text", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_cannot_be_read_is_said_and_breaks_the_chain(made, text):
    first, second = chains.check([pki.pem(made[0]), text])
    assert (first.verified, second.verified, second.facts) == (False, False, None)
    assert first.facts.subject == "CN=d-1"


def test_facts_are_what_openssl_prints(made):
    facts = chains.facts(made[0])
    assert facts.serial == f"{made[0].serial_number:x}"
    assert len(facts.fingerprint.split(":")) == 32
    assert facts.key == "P-256, 256 bits"
    assert facts.is_valid(NOW)
    assert not facts.is_valid(facts.not_after)
    assert not facts.is_valid(facts.not_before - timedelta(seconds=1))


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (ec.generate_private_key(ec.SECP384R1()), "P-384, 384 bits"),
        (rsa.generate_private_key(65537, 2048), "RSA, 2048 bits"),
        (ed25519.Ed25519PrivateKey.generate(), "Ed25519, 256 bits"),
        (ec.generate_private_key(ec.SECP521R1()), "secp521r1, 521 bits"),
    ],
)
def test_a_key_is_told_by_kind_and_size(key, name):
    assert chains.key_name(key.public_key()) == name
