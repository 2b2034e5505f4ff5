"""The form that makes a claim: three kinds, what each needs, and what is wrong said where it is wrong."""

import re
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminTextareaWidget
from django.utils import timezone

from devices import authorities
from devices.errors import DomainError
from devices.models import Authority, Claim
from devices.models.fields import HARDWARE_ID_RULE, is_hardware_id

_LIFETIME = timedelta(days=30)
_KINDS = {
    Claim.Kind.TOKEN: "Token: a secret text that devices send over HTTPS or EST",
    Claim.Kind.CERTIFICATE: "Certificate: a key and a certificate that devices present when they connect",
    Claim.Kind.MAKER: "Maker's CA: devices were born with a certificate of their maker, and need no secret of ours",
}


class ClaimForm(forms.ModelForm):
    """What a claim is made of."""

    hardware_ids = forms.CharField(
        label="Only these serials",
        required=False,
        widget=AdminTextareaWidget(attrs={"rows": 4}),
        help_text="Hardware ids, one a line or with commas between them. Empty: any device of the type.",
    )

    class Meta:
        model = Claim
        fields = [
            "name",
            "tenant",
            "device_type",
            "site",
            "kind",
            "maker",
            "max_devices",
            "hardware_ids",
            "expires_at",
            "approve_by_hand",
        ]
        help_texts = {
            "name": "For people: the batch, the order, the occasion.",
            "maker": "Only for a claim of the kind Maker's CA. Makers are registered with manage.py make_ca maker.",
            "max_devices": "When so many have joined, it admits no more.",
            "expires_at": "UTC. The shorter, the less a lost secret is worth.",
            "approve_by_hand": "Each device waits under Approvals until somebody lets it in.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "kind" not in self.fields:
            return  # a page that only shows a claim
        self.fields["kind"].choices = list(_KINDS.items())  # type: ignore[attr-defined]
        self.fields["maker"].queryset = Authority.objects.filter(kind=Authority.Kind.MAKER, active=True)  # type: ignore[attr-defined]
        self.fields["expires_at"].initial = lambda: (timezone.now() + _LIFETIME).replace(minute=0, second=0)

    def clean_max_devices(self) -> int:
        """A claim for nobody is a mistake."""
        number: int = self.cleaned_data["max_devices"]
        if number < 1:
            raise forms.ValidationError("At least one device must be able to join by it.")
        return number

    def clean_hardware_ids(self) -> list[str]:
        """One a line or between commas, each once, each as enrolment would take it."""
        found = dict.fromkeys(part.strip() for part in re.split(r"[,\r\n]+", self.cleaned_data["hardware_ids"]))
        serials = [serial for serial in found if serial]
        bad = [serial for serial in serials if not is_hardware_id(serial)]
        if bad:
            raise forms.ValidationError(f"No hardware id: {bad[0][:40]!r}. {HARDWARE_ID_RULE}")
        return serials

    def clean_expires_at(self) -> datetime:
        """In the future."""
        expires: datetime = self.cleaned_data["expires_at"]
        if expires <= timezone.now():
            raise forms.ValidationError("This moment has passed: nobody could join. Times are in UTC.")
        return expires

    def clean(self) -> dict[str, Any]:
        """What each kind needs, and that what it hangs on lasts as long."""
        told = super().clean() or self.cleaned_data
        kind, maker, expires = told.get("kind"), told.get("maker"), told.get("expires_at")
        if kind == Claim.Kind.MAKER and maker is None and "maker" not in self.errors:
            self.add_error("maker", "Choose the maker whose devices may join.")
        if kind != Claim.Kind.MAKER and maker is not None:
            self.add_error("maker", "A maker belongs only to a claim of the kind Maker's CA: leave it empty.")
        authority = maker if kind == Claim.Kind.MAKER else self._claim_root(kind)
        if authority and expires and expires > authority.not_after:
            self.add_error("expires_at", f"{authority.name} ends before, on {authority.not_after:%Y-%m-%d}.")
        return told

    def _claim_root(self, kind: str | None) -> Authority | None:
        """The authority that is about to sign a claim certificate; an error where it cannot."""
        if kind != Claim.Kind.CERTIFICATE:
            return None
        try:
            return authorities.signer(Authority.Kind.CLAIM).row
        except DomainError as error:
            self.add_error("kind", f"No claim certificate can be made now: {error.detail}")
            return None
