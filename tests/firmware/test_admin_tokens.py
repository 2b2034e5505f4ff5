"""The staff's pages of upload tokens: made, shown once, revoked."""

import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.utils import timezone

from devices.models import Event
from firmware import upload_tokens
from firmware.errors import FirmwareError
from firmware.models import UploadToken
from tests.devices.desk import ROLES
from tests.factories import DeviceTypeFactory
from tests.firmware.office import act, errors, offers, said, sit, url

pytestmark = pytest.mark.django_db
OTHERS = [role for role in ROLES if role != "Security officer"]


@pytest.fixture
def officer(client, ca):
    return sit(client, "Security officer")


def make(client, **told):
    return client.post(
        url("uploadtoken", "add"), {"name": "GitLab", "device_types": [DeviceTypeFactory().pk], "days": 90} | told
    )


def test_its_only_appearance_is_the_answer_to_the_form_and_it_works(client, officer):
    answer = make(client)
    text = answer.content.decode()
    (token,) = set(re.findall(r"fpu_[A-Za-z0-9_-]{43}", text))
    row = upload_tokens.of(token, timezone.now())
    assert (row.name, row.created_by, row.device_types.count()) == ("GitLab", officer, 1)
    assert timedelta(days=89) < row.expires_at - timezone.now() <= timedelta(days=90)
    assert "no-store" in answer["Cache-Control"]
    kept = [str(each) for model in (LogEntry, Event, UploadToken) for each in model.objects.values()]
    kept += [client.get(each).content.decode() for each in (url("uploadtoken"), url("uploadtoken", "change", row.pk))]
    assert [each for each in kept if token[12:] in each or (row.token_hash in each and "<html" in each)] == []
    assert Event.objects.get(kind="upload_token.made").user == officer


@pytest.mark.parametrize(
    ("field", "told"), [("days", {"days": 0}), ("days", {"days": 731}), ("device_types", {"device_types": []})]
)
def test_what_is_wrong_is_said_where_it_is_wrong(client, officer, field, told):
    assert list(errors(make(client, **told))) == [field]
    assert not UploadToken.objects.exists()


def test_revoking_asks_why_and_ends_it(client, officer):
    now = timezone.now()
    row, token = upload_tokens.make("GitLab", [DeviceTypeFactory()], now + timedelta(days=9), None)
    assert "is refused from now on" in act(client, "uploadtoken", "revoke", row, reason="").content.decode()
    assert said(act(client, "uploadtoken", "revoke", row, reason="in a log")) == "Revoke: 1 done."
    with pytest.raises(FirmwareError):
        upload_tokens.of(token, now)
    event = Event.objects.get(kind="upload_token.revoked")
    assert (event.user, event.reason) == (officer, "in a log")
    assert "0 done" in said(act(client, "uploadtoken", "revoke", row))


@pytest.mark.parametrize("role", OTHERS)
def test_is_for_security_officers(client, ca, role):
    row, _ = upload_tokens.make("GitLab", [DeviceTypeFactory()], timezone.now() + timedelta(days=9), None)
    sit(client, role)
    assert client.get(url("uploadtoken", "add")).status_code == 403
    assert make(client).status_code == 403
    assert offers(client, "uploadtoken") == set()
    act(client, "uploadtoken", "revoke", row)
    assert UploadToken.objects.get().revoked_at is None
    assert client.get(url("uploadtoken", "change", row.pk)).status_code == 200


def test_the_list_tells_states_apart(client, officer):
    now = timezone.now()
    common = {"token_hash": "h"}
    UploadToken.objects.create(name="new", prefix="fpu_1", expires_at=now + timedelta(days=9), **common)
    UploadToken.objects.create(
        name="used", prefix="fpu_2", expires_at=now + timedelta(days=9), last_used_at=now, **common
    )
    UploadToken.objects.create(name="over", prefix="fpu_3", expires_at=now - timedelta(days=9), **common)
    UploadToken.objects.create(name="gone", prefix="fpu_4", expires_at=now, revoked_at=now, **common)
    wanted = {"active": {"new", "used"}, "unused": {"new"}, "expired": {"over"}, "revoked": {"gone"}}
    for state, names in wanted.items():
        found = client.get(url("uploadtoken"), {"state": state}).context["cl"].result_list
        assert {row.name for row in found} == names
