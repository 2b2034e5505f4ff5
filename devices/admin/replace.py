"""The page on which a broken device is replaced (RMA). What was typed is never lost, whatever is wrong with it."""

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html

from devices import lifecycle
from devices.admin.base import FleetAdmin
from devices.admin.shutting_out import ShutOut
from devices.errors import DeviceError
from devices.models import Certificate, Device
from devices.models.fields import HARDWARE_ID_RULE, MAX_HARDWARE_ID, is_hardware_id


class ReplaceForm(forms.Form):
    """Which hardware takes the place, and why."""

    hardware_id = forms.CharField(
        label="Hardware id of the new device",
        max_length=MAX_HARDWARE_ID,
        help_text="The maker's serial number, as the new device will tell it when it enrols.",
        widget=forms.TextInput(attrs={"class": "vTextField", "autofocus": True, "autocomplete": "off"}),
    )
    reason = forms.CharField(
        max_length=200,
        help_text="Kept as evidence with your name, on both devices' time lines.",
        widget=forms.TextInput(attrs={"class": "vTextField"}),
    )

    def clean_hardware_id(self) -> str:
        """As enrolment judges it: another one could never join."""
        hardware_id: str = self.cleaned_data["hardware_id"]
        if not is_hardware_id(hardware_id):
            raise forms.ValidationError(HARDWARE_ID_RULE)
        return hardware_id


def replace_page(page: FleetAdmin, request: HttpRequest, old: Device) -> HttpResponse:
    """Ask, say what will happen in numbers, do it, and lead to the new device."""
    form = ReplaceForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            new = _carry_out(request, old, **form.cleaned_data)
        except DeviceError as error:
            messages.error(request, error.detail)
        else:
            return HttpResponseRedirect(reverse("admin:devices_device_change", args=[new.pk]))
    now = timezone.now()
    context: dict[str, Any] = {
        **page.admin_site.each_context(request),
        "title": f"Replace {old}",
        "opts": page.opts,
        "original": old,
        "form": form,
        "ended": old.state == Device.State.DECOMMISSIONED,
        "certificates": Certificate.objects.trusted(now).filter(device=old).count(),
        "groups": list(old.groups.all()),
    }
    return TemplateResponse(request, "admin/devices/device/replace.html", context)


def _carry_out(request: HttpRequest, old: Device, hardware_id: str, reason: str) -> Device:
    gone = ShutOut(request)
    new = lifecycle.replace(old, hardware_id, reason, request.user, timezone.now())
    gone.add(old.device_id)
    gone.after_commit()
    follow = (
        "It joins when it enrols with a claim."
        if new.state == Device.State.REGISTERED
        else "It had joined already, and has its name and place now."
    )
    told = '{} ({}) took the place of <a href="{}">{}</a>, which is decommissioned. {}'
    url = reverse("admin:devices_device_change", args=[old.pk])
    messages.success(request, format_html(told, new, new.device_id, url, old.device_id, follow))
    return new
