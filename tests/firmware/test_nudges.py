"""What devices hear of their updates, over the real broker: when it happens, and again at each birth."""

import json

import pytest

from devices import contract
from devices.models import Device, Presence
from devices.registry import Incoming
from firmware import nudges, offers, signing
from firmware.models import Stop, Update
from fleetportal.mqtt import Rooms
from fleetportal.slots import CONTROL
from tests.devices import peers
from tests.factories import StaffFactory
from tests.firmware import fleet
from tests.firmware.fleet import BOOT, NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("mosquitto_server")]


class Talk:
    """A device with a planned update, its ear at the broker."""

    def __init__(self, identity, peer, commit):
        self.identity, self.peer, self._commit, self.session = identity, peer, commit, 0
        self.row = Device.objects.get(device_id=identity.device_id)
        made = fleet.release(
            "2.0.0", self.row.device_type, min_battery_percent=30, needs_mains=True, min_version="1.0.0"
        )
        self.campaign = fleet.campaign(made, [100])
        (self.update,) = fleet.enlist(self.campaign, [self.row])

    def birth(self, version="1.0.0", boot=BOOT):
        self.session += 1
        status = contract.Status(contract.State.ONLINE, self.session, boot, 0, firmware_version=version)
        with self._commit(execute=True):
            Rooms().take(CONTROL, [Incoming(self.identity.topic("status"), contract.encode(status), 1)])

    def heard(self, times=1):
        """The newest of so many messages."""
        got = lambda: [payload for at, payload in self.peer.received if at == self.identity.topic("ota")]  # noqa: E731
        peers.eventually(lambda: len(got()) >= times, what=f"{times} offers")
        assert len(got()) == times
        return json.loads(got()[-1])

    def state(self):
        return Update.objects.get(pk=self.update.pk).state


@pytest.fixture
def talk(ca, tmp_path, django_capture_on_commit_callbacks):
    identity = peers.enrolled(tmp_path)
    with peers.device(identity) as peer:
        peer.subscribe(identity.topic("ota"))
        talk = Talk(identity, peer, django_capture_on_commit_callbacks)
        talk.birth()
        yield talk


def test_an_offer_says_all_a_device_must_know(talk):
    nudges.tell(offers.offer(talk.campaign, NOW))
    told = contract.convert(talk.heard(), contract.Offer)
    release = talk.campaign.release
    assert (told.update_id, told.attempt, told.state) == (talk.update.update_id, 1, "open")
    assert (told.version, told.min_version, told.device_types) == ("2.0.0", "1.0.0", [talk.row.device_type.slug])
    assert told.preconditions == contract.Preconditions(30, True, 0)
    assert (told.reboot_jitter_seconds, told.download_attempts, told.rollback) == (300, 5, None)
    image, artifact = told.image, release.artifact
    assert (image.file_name, image.size, image.sha256) == (artifact.file_name, artifact.size, artifact.sha256)
    assert image.url.startswith("https://")
    key = signing.read_public_key(fleet.public_pem())
    (signature,) = image.signatures
    assert signature.key == key.fingerprint
    assert key.verify(
        signing.read_signature(signature.signature.encode()), signing.manifest(image.sha256, image.file_name)
    )


def test_an_offer_that_went_out_is_notified(talk):
    nudges.tell(offers.offer(talk.campaign, NOW))
    talk.heard()
    assert talk.state() == "notified"


def test_it_is_said_again_at_each_birth_until_it_is_being_installed(talk):
    nudges.tell(offers.offer(talk.campaign, NOW))
    first = talk.heard()
    talk.birth()
    again = talk.heard(2)
    assert again["update_id"] == first["update_id"] and talk.state() == "notified"
    Update.objects.update(state="installing", installing_at=NOW)
    talk.birth()
    Update.objects.update(state="canceled", ended_at=NOW)
    nudges.tell([talk.update])
    assert talk.heard(3)["state"] == "withdrawn"


def test_what_is_taken_back_is_withdrawn(talk):
    nudges.tell(offers.offer(talk.campaign, NOW))
    talk.heard()
    nudges.tell(offers.withdraw(talk.campaign, NOW, "operator"))
    told = talk.heard(2)
    assert (told["update_id"], told["state"], "image" in told) == (str(talk.update.update_id), "withdrawn", False)


def test_who_is_offline_is_told_when_it_is_back(talk):
    offered = offers.offer(talk.campaign, NOW)
    Presence.objects.update(online=False)
    nudges.tell(offered)
    assert talk.state() == "queued"
    talk.birth()
    assert talk.heard()["state"] == "open" and talk.state() == "notified"


def test_a_birth_is_taken_in_although_nothing_can_be_said(talk, monkeypatch):
    monkeypatch.setattr(nudges.publisher, "publish", lambda *_, **__: 1 / 0)
    offers.offer(talk.campaign, NOW)
    talk.birth(boot="boot-9")
    assert (Presence.objects.get().boot_id, talk.state()) == ("boot-9", "queued")


def test_during_the_global_stop_nothing_is_said_at_a_birth(talk):
    offers.offer(talk.campaign, NOW)
    stop = Stop.objects.create(started_by=StaffFactory(), reason="fire")
    talk.birth()
    assert talk.state() == "queued"
    Stop.objects.filter(pk=stop.pk).update(ended_at=NOW)
    talk.birth()
    assert talk.heard()["state"] == "open"


def test_what_was_never_offered_is_never_told(talk):
    nudges.tell([talk.update])
    talk.birth()
    nudges.tell(offers.offer(talk.campaign, NOW))
    talk.heard(1)


def test_the_permit_goes_with_the_offer_of_a_rollback(talk):
    Update.objects.update(permit="c2lnbmF0dXJl", permit_key="ab" * 32, from_version="2.0.0", offered_at=NOW)
    nudges.tell([talk.update])
    assert talk.heard()["rollback"] == {"from_version": "2.0.0", "key": "ab" * 32, "signature": "c2lnbmF0dXJl"}
