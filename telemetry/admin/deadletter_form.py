"""Which dead letters: the filter of the staff's pages, in their addresses."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator

from devices.models import Device, DeviceType, Tenant
from telemetry.models import DeadLetter
from telemetry.refused.selections import Selection

_MOST = 1_000
"""Letters that can be ticked."""
_LARGE = 2**63 - 1
_NEAR = [
    MinValueValidator(datetime(2000, 1, 1, tzinfo=UTC), "Only moments from 2000 to 2099."),
    MaxValueValidator(datetime(2099, 12, 31, 23, 59, 59, tzinfo=UTC), "Only moments from 2000 to 2099."),
]
"""At the ends of the calendar there are moments that UTC has no date for."""


def _moment(label: str) -> forms.DateTimeField:
    widget = forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")
    return forms.DateTimeField(required=False, label=label, widget=widget, validators=_NEAR)


class LetterFilter(forms.Form):
    """Reason, tenant, type, device and time; or ticked letters."""

    reason = forms.ChoiceField(required=False)
    tenant = forms.ModelChoiceField(Tenant.objects.none(), required=False, empty_label="Any", to_field_name="slug")
    type = forms.ModelChoiceField(DeviceType.objects.none(), required=False, empty_label="Any", to_field_name="slug")
    device = forms.CharField(required=False, max_length=63, label="Device id")
    since = _moment("Received from (UTC)")
    until = _moment("Received before (UTC)")
    nobodys = forms.BooleanField(required=False, label="Of no known device")

    def __init__(self, data: Any, user: Any) -> None:
        super().__init__(data)
        self._user = user
        reasons = DeadLetter.objects.visible_to(user).order_by("reason").values_list("reason", flat=True).distinct()
        asked = data.get("reason", "")
        # A reason that nothing has any more is a filter nonetheless: after a purge the page is empty, not wrong.
        known = sorted({*reasons, *([asked] if asked and len(asked) <= 50 and "\0" not in asked else [])})
        self.fields["reason"].choices = [("", "Any"), *((each, each) for each in known)]  # type: ignore[attr-defined]
        self.fields["tenant"].queryset = Tenant.objects.visible_to(user)  # type: ignore[attr-defined]
        self.fields["type"].queryset = DeviceType.objects.visible_to(user)  # type: ignore[attr-defined]

    def clean_device(self) -> Device | None:
        """The device of this id."""
        told = self.cleaned_data["device"].strip()
        if not told:
            return None
        found = Device.objects.visible_to(self._user).filter(device_id=told).first()
        if found is None:
            raise ValidationError("There is no device of this id.")
        return found

    def letters(self) -> tuple[int, ...]:
        """The letters that were ticked. Raises ValidationError."""
        told = self.data.getlist("letter") if hasattr(self.data, "getlist") else []
        if len(told) > _MOST:
            raise ValidationError(f"At most {_MOST} letters can be ticked.")
        if not all(each.isdecimal() and len(each) < 20 and 0 < int(each) <= _LARGE for each in told):
            raise ValidationError("This is no letter.")
        return tuple(sorted({int(each) for each in told}))

    def clean(self) -> dict[str, Any]:
        """Ticked letters count alone."""
        told = super().clean() or {}
        told["letters"] = self.letters()
        if self.data.get("ticked") and not told["letters"]:
            raise ValidationError("Nothing was ticked.")  # and nothing ticked must not mean all
        return told

    def selection(self) -> Selection:
        """What a valid form says."""
        told = self.cleaned_data
        if told["letters"]:
            return Selection(letters=told["letters"])
        return Selection(
            told["reason"], told["tenant"], told["type"], told["device"], told["nobodys"], told["since"], told["until"]
        )

    def query(self, **changes: str) -> str:
        """The filter as the end of an address, with these changes."""
        names = [name for name in self.fields if self.data.get(name)]
        pairs = {name: str(self.data[name]) for name in names} | changes
        ticked = [("letter", str(each)) for each in self.cleaned_data.get("letters", ())]
        return urlencode([*((name, value) for name, value in pairs.items() if value), *ticked])
