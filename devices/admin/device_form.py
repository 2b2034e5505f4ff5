"""The form of a device: what registers one, and later what may still be changed. What is wrong is said where it is."""

from typing import Any

from django import forms
from django.db.models import QuerySet

from devices.models import Device, Group, Tenant
from devices.models.fields import HARDWARE_ID_RULE, is_hardware_id, validate_part

_TAGS = 20


class DeviceForm(forms.ModelForm):
    """Judges a new device as its registration does; keeps every device among its own tenant's groups.

    The model itself does the same for its site.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "hardware_id" in self.fields:
            self.fields["name"].help_text = "Empty: its type and its hardware id, as when it enrols unannounced."

    def clean_hardware_id(self) -> str:
        """As enrolment judges it."""
        hardware_id: str = self.cleaned_data["hardware_id"]
        if not is_hardware_id(hardware_id):
            raise forms.ValidationError(HARDWARE_ID_RULE)
        return hardware_id

    def clean_tags(self) -> list[str]:
        """Each once, in the order of the alphabet, and no more than somebody can read."""
        tags = sorted(set(self.cleaned_data["tags"] or ()))
        if len(tags) > _TAGS:
            raise forms.ValidationError(f"At most {_TAGS} tags.")
        for tag in tags:
            try:
                validate_part(tag)
            except forms.ValidationError as error:
                raise forms.ValidationError(f"{tag[:40]!r}: lower-case letters, digits, - and _ only.") from error
        return tags

    def clean(self) -> dict[str, Any]:
        """What only several fields tell together."""
        told = super().clean() or self.cleaned_data
        self._check_free(told)
        tenant: Tenant | None = self.instance.tenant if self.instance.pk else told.get("tenant")
        groups: QuerySet[Group] | None = told.get("groups")
        strangers = groups.exclude(tenant=tenant) if tenant and groups is not None else ()
        if strangers:
            self.add_error("groups", f"Of another tenant: {', '.join(str(group) for group in strangers)}.")
        return told

    def _check_free(self, told: dict[str, Any]) -> None:
        device_type, hardware_id = told.get("device_type"), told.get("hardware_id")
        if not device_type or not hardware_id:
            return
        taken = Device.objects.filter(device_type=device_type, hardware_id=hardware_id).select_related("tenant").first()
        if taken:
            who = f"{taken} ({taken.device_id}) of {taken.tenant}, {taken.get_state_display().lower()}"
            self.add_error("hardware_id", f"A device of this type has this hardware id already: {who}.")
