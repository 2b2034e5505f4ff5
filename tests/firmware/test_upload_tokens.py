"""Tokens of build servers: shown once, kept as a hash, good until they end."""

from datetime import timedelta

import pytest
from django.utils import timezone

from devices.models import Event
from firmware import upload_tokens
from firmware.errors import FirmwareError
from firmware.models import UploadToken
from tests.factories import DeviceTypeFactory, StaffFactory

pytestmark = pytest.mark.django_db
NOW = timezone.now()
DAY = timedelta(days=1)


def refused(call, *args):
    with pytest.raises(FirmwareError) as error:
        call(*args)
    return error.value.status, error.value.code


@pytest.fixture
def made():
    return upload_tokens.make("CI", [DeviceTypeFactory(slug="pump")], NOW + 30 * DAY, StaffFactory(username="ann"))


def test_the_text_is_kept_nowhere(made):
    row, text = made
    assert text.startswith("fpu_") and len(text) == 47
    assert text[12:] not in str(UploadToken.objects.values().get())
    event = Event.objects.get(kind="upload_token.made")
    assert (event.actor, event.detail["device_types"], event.detail["token"]) == ("ann", ["pump"], row.prefix)
    assert text[12:] not in str(event.detail)


def test_a_token_is_good_until_it_expires_or_is_revoked(made):
    row, text = made
    assert upload_tokens.of(text, NOW) == row
    assert refused(upload_tokens.of, text, NOW + 30 * DAY) == (401, "token_refused")
    assert upload_tokens.revoke(row, None, "leaked", NOW)
    assert not upload_tokens.revoke(row, None, "leaked", NOW)
    assert refused(upload_tokens.of, text, NOW) == (401, "token_refused")
    assert Event.objects.filter(kind="upload_token.revoked").count() == 1


def test_what_is_no_token_is_refused_in_the_same_words(made):
    _, text = made
    for other in ("", "fpu_", text[:-1], text + "x", text[:-1] + "~", text[:12] + "A" * 35, "fpd_" + text[4:], "\x00"):
        assert refused(upload_tokens.of, other, NOW) == (401, "token_refused"), other


def test_a_busy_token_writes_its_last_use_once_a_minute(made, django_assert_num_queries):
    _, text = made
    upload_tokens.of(text, NOW)
    assert UploadToken.objects.get().last_used_at == NOW
    with django_assert_num_queries(1):
        upload_tokens.of(text, NOW + timedelta(seconds=59))
    upload_tokens.of(text, NOW + timedelta(seconds=60))
    assert UploadToken.objects.get().last_used_at == NOW + timedelta(seconds=60)


def test_a_token_has_a_scope_and_an_end(made):
    pump = UploadToken.objects.get().device_types.get()
    assert refused(upload_tokens.make, "x", [], NOW + DAY, None) == (400, "token_scope")
    for end in (timezone.now(), timezone.now() + 731 * DAY):
        assert refused(upload_tokens.make, "x", [pump], end, None) == (400, "token_lifetime")
