"""Keys that sign tokens: made when they are needed, told before they sign, replaced, opened by one passphrase."""

from datetime import UTC, datetime, timedelta

import jwt
import pytest
from django.core.exceptions import ImproperlyConfigured

from devices.models import Event, SigningKey
from devices.people import signing_keys

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY = timedelta(days=1)
ME = "http://localhost"


def claims(now=NOW, **changes):
    told = {"iss": ME, "aud": ME, "sub": "7", "iat": int(now.timestamp()), "exp": int(now.timestamp()) + 600}
    return {name: value for name, value in (told | changes).items() if value is not None}


def kids(now):
    return [key.kid for key in signing_keys.public(now)]


def signer(now):
    return jwt.get_unverified_header(signing_keys.sign(claims(now), "JWT", now))["kid"]


def refused(token, now=NOW, kind="JWT", audience=ME):
    with pytest.raises(signing_keys.Refused) as caught:
        signing_keys.read(token, kind, now, audience=audience)
    return caught.value.expired


def test_the_first_key_is_made_when_it_is_needed_and_only_once():
    assert len(kids(NOW)) == 1
    assert kids(NOW) == kids(NOW) == [signer(NOW)]
    row = SigningKey.objects.get()
    assert "ENCRYPTED" in row.pem
    assert Event.objects.filter(kind="signingkey.made").count() == 1


def test_what_is_told_is_public():
    (key,) = signing_keys.public(NOW)
    assert set(key.jwk) == {"kty", "n", "e", "kid", "use", "alg"}
    assert (key.jwk["kty"], key.jwk["alg"], key.key.key_size) == ("RSA", "RS256", 2048)


def test_keys_take_turns(settings):
    signing_keys.public(NOW)
    (old,) = kids(NOW)
    for days in (0, 1, 50, 88.9):
        assert not signing_keys.prepare(NOW + days * DAY)
    announced = NOW + 89 * DAY
    assert signing_keys.prepare(announced)
    assert not signing_keys.prepare(announced)
    new = next(kid for kid in kids(announced) if kid != old)
    assert signer(announced) == signer(NOW + 89.9 * DAY) == old
    assert signer(NOW + 90 * DAY) == new
    assert set(kids(NOW + 96 * DAY)) == {old, new}  # what the old one signed is believed a while
    assert kids(NOW + 97 * DAY) == [new]
    assert not signing_keys.prepare(NOW + 97 * DAY)
    assert SigningKey.objects.count() == 1


def test_a_key_that_comes_late_is_announced_all_the_same():
    signing_keys.public(NOW)
    late = NOW + 95 * DAY
    (old,) = kids(late)
    assert signing_keys.prepare(late)
    assert signer(late + 0.9 * DAY) == old
    assert signer(late + DAY) != old


def test_after_a_long_sleep_there_is_a_key_at_once():
    before = signer(NOW)
    assert signer(NOW + 400 * DAY) != before


def test_a_lost_key_ends_all_at_once():
    token = signing_keys.sign(claims(), "JWT", NOW)
    assert signing_keys.read(token, "JWT", NOW, audience=ME)["sub"] == "7"
    assert signing_keys.replace_all(NOW, "stolen") == 1
    assert not refused(token)
    assert len(kids(NOW)) == 1
    event = Event.objects.get(kind="signingkey.replaced")
    assert (event.reason, event.detail) == ("stolen", {"keys": 1})


def test_a_row_that_cannot_be_opened_is_as_good_as_none(settings):
    SigningKey.objects.create(pem="", not_before=NOW, expires_at=NOW + DAY)
    before = signer(NOW)
    settings.CA_KEY_PASSPHRASE = "another"
    assert signer(NOW) != before


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "http://evil.example"}, {"aud": "another"}, {"iss": None}, {"aud": None}, {"sub": None}, {"exp": None},
        {"iat": None}, {"exp": "soon"}, {"sub": 7}, {"nbf": 4_000_000_000},
    ],
)  # fmt: skip
def test_claims_that_are_not_right(changes):
    assert not refused(signing_keys.sign(claims(**changes), "JWT", NOW))


def test_a_token_has_its_time_its_kind_and_its_audience():
    token = signing_keys.sign(claims(), "JWT", NOW)
    assert signing_keys.read(token, "JWT", NOW + timedelta(seconds=599), audience=ME)
    assert refused(token, NOW + timedelta(seconds=600))
    assert not refused(token, kind="at+jwt")
    assert not refused(token, audience="another")


def test_what_others_signed_or_nobody():
    (key,) = signing_keys.public(NOW)
    head = {"kid": key.kid, "typ": "JWT"}
    secret = "x" * 40
    public = key.jwk["n"]
    token = signing_keys.sign(claims(), "JWT", NOW)
    front, body, tail = token.split(".")
    for bad in (
        jwt.encode(claims(), None, algorithm="none", headers=head),
        jwt.encode(claims(), secret, algorithm="HS256", headers=head),
        jwt.encode(claims(), public, algorithm="HS256", headers=head),
        f"{front}.{body}.", f"{front}.{body}.{tail[:-4]}AAAA", f"{front}.{body[:-2]}.{tail}", "..", "a.b.c", "",
        "\0.\0.\0", "é.é.é", "e30.e30.e30", "x" * 100_000,
    ):  # fmt: skip
        assert not refused(bad), bad


@pytest.mark.parametrize("url", ["", "http://fleet.example", "fleet.example", "ftp://localhost", "https:"])
def test_a_portal_that_does_not_know_its_address_says_so(settings, url):
    settings.PORTAL_URL = url
    with pytest.raises(ImproperlyConfigured, match="PORTAL_URL"):
        signing_keys.issuer()


@pytest.mark.parametrize("url", ["https://fleet.example/", "http://localhost:8000", "http://[::1]:8000"])
def test_a_portal_that_does(settings, url):
    settings.PORTAL_URL = url
    assert signing_keys.issuer() == url.rstrip("/")
