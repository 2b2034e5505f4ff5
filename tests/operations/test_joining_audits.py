"""Each audit: it fires, it keeps quiet, it ends."""

from datetime import timedelta

import pytest
from django.utils import timezone

from devices import claims
from devices.models import Claim, Device, DeviceToken, Presence
from tests.devices import peers
from tests.factories import DeviceFactory

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


def claim(days, **changes):
    row = claims.of_token(peers.claim_token(lifetime=1000 * DAY))
    Claim.objects.filter(pk=row.pk).update(created_at=timezone.now() - days * DAY, **changes)
    return row


class TestClaims:
    def test_each_kind_until_it_is_revoked_or_expires(self, audited):
        old, unused, full = claim(91, uses=3), claim(31), claim(8, uses=100)
        assert audited("claims") == {
            ("claim_old", None, old.prefix): "warning",
            ("claim_unused", None, unused.prefix): "info",
            ("claim_used_up", None, full.prefix): "info",
        }
        claims.revoke(old, "x", None, timezone.now())
        Claim.objects.exclude(pk=old.pk).update(expires_at=timezone.now())
        assert audited("claims") == {}

    def test_a_young_one_in_use_is_none(self, audited):
        claim(1)
        claim(60, uses=5)
        assert audited("claims") == {}


class TestNeverSeen:
    def test_until_it_speaks(self, audited):
        old, _new, lost = DeviceFactory.create_batch(3)
        for device, days in ((old, 2), (lost, 40)):
            Device.objects.filter(pk=device.pk).update(created_at=timezone.now() - days * DAY)
        told = {("device_never_seen", old.pk, ""): "info", ("device_never_seen", lost.pk, ""): "warning"}
        assert audited("never-seen") == told
        Presence.objects.update(last_seen_at=timezone.now(), session=1)
        assert audited("never-seen") == {}

    def test_only_devices_that_are_to_speak(self, audited):
        for state in ("registered", "quarantined", "decommissioned"):
            DeviceFactory(state=state)
        Device.objects.update(created_at=timezone.now() - 2 * DAY)
        assert audited("never-seen") == {}


class TestTokens:
    @pytest.fixture
    def token(self):
        def make(days, left, used=False, **changes):
            now, number = timezone.now(), DeviceToken.objects.count()
            row = DeviceToken.objects.create(
                device=DeviceFactory(), prefix=f"fpd_{number}", token_hash="x", expires_at=now + left * DAY,
                last_used_at=now if used else None, **changes,
            )  # fmt: skip
            DeviceToken.objects.filter(pk=row.pk).update(created_at=now - days * DAY)
            return row

        return make

    def test_one_nobody_uses_until_it_is_used(self, token, audited):
        row = token(8, 100)
        token(1, 100)
        token(8, -1)
        token(8, 100, revoked_at=timezone.now())
        assert audited("unused-tokens") == {("token_unused", row.device_id, row.prefix): "warning"}
        DeviceToken.objects.update(last_used_at=timezone.now())
        assert audited("unused-tokens") == {}

    def test_one_in_use_that_ends_soon_until_it_has_a_successor(self, token, audited):
        row = token(100, 13, used=True)
        token(100, 15, used=True)
        token(100, 13)
        assert audited("expiring-tokens") == {("token_expiring", row.device_id, row.prefix): "warning"}
        DeviceToken.objects.filter(pk=row.pk).update(replaced_by=token(0, 400))
        assert audited("expiring-tokens") == {}
