"""What programs that act for people leave behind: keys that sign their tokens, spent tokens, requests made twice."""

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from devices.tenancy import COMPANY, PERSONAL, ScopedQuerySet


class SigningKey(models.Model):
    """A key that signs access tokens and ID tokens of apps (JWS, RS256 or ES256); told by JWKS (RFC 7517).

    The newest that has begun signs; the others only verify, until `expires_at`. Replaced before it is old, by beat.
    """

    tenant_path = COMPANY
    pem = models.TextField(editable=False, help_text="PKCS#8, encrypted: without the passphrase it is of no use.")
    created_at = models.DateTimeField(db_default=Now())
    not_before = models.DateTimeField(help_text="It signs from then on; it is told in JWKS before.")
    expires_at = models.DateTimeField(help_text="Nothing it signed is believed from then on.")
    objects = ScopedQuerySet["SigningKey"].as_manager()

    class Meta:
        ordering = ["-not_before"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(expires_at__gt=models.F("not_before")), name="signingkey_has_a_time"
            ),
        ]

    def __str__(self) -> str:
        return f"Signing key of {self.not_before:%Y-%m-%d}"


class SpentToken(models.Model):
    """A refresh token that was exchanged for its successor. Who brings it again has stolen it, or was robbed.

    Then all tokens of its family end (RFC 9700, 4.14.2): nobody can tell which of the two is the thief.
    """

    tenant_path = COMPANY
    token_hash = models.CharField(max_length=64, unique=True, help_text="SHA-256, hex.")
    family = models.UUIDField(db_index=True, help_text="All that came from one sign-in.")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    spent_at = models.DateTimeField(db_default=Now(), db_index=True)
    objects = ScopedQuerySet["SpentToken"].as_manager()

    def __str__(self) -> str:
        return f"Spent at {self.spent_at:%Y-%m-%d %H:%M}"


class RepeatedRequest(models.Model):
    """A POST with an `Idempotency-Key`, and what was answered: who repeats it gets the same answer again.

    Without an answer (`status` empty) it is being worked on, or its process died: after a while it may be tried anew.
    """

    tenant_path = PERSONAL
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64, help_text="SHA-256 of method, path and body, hex.")
    status = models.PositiveSmallIntegerField(null=True)
    headers = models.JSONField(default=dict)
    body = models.BinaryField(default=b"")
    created_at = models.DateTimeField(db_default=Now(), db_index=True)
    objects = ScopedQuerySet["RepeatedRequest"].as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "key"], name="repeatedrequest_once")]

    def __str__(self) -> str:
        return self.key
