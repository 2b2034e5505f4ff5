"""Customers' page that adds a device by its claim code: what a QR code on the device leads to."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from devices import claim_codes, lifecycle
from devices.errors import DeviceError
from devices.models import ClaimCode, Device, Tenant
from devices.people import access
from devices.people.scopes import DEVICES_WRITE
from devices.throttles import address_of

_OFFERED = 200
"""Organisations that staff can choose from."""


class CodeForm(forms.Form):
    """What is printed on the device."""

    code = forms.CharField(
        label="Claim code",
        max_length=100,
        help_text="16 characters, printed on the device or its box. Small letters and missing hyphens are fine.",
        widget=forms.TextInput(
            attrs={
                "autocomplete": "off",
                "autocapitalize": "characters",
                "spellcheck": "false",
                "placeholder": "XXXX-XXXX-XXXX-XXXX",
                "aria-describedby": "help-code",
            }
        ),
    )


class AddForm(forms.Form):
    """Whose it will be, and how it is called."""

    code = forms.CharField(max_length=100, widget=forms.HiddenInput)
    tenant = forms.ModelChoiceField(Tenant.objects.none(), label="Organisation", empty_label=None)
    name = forms.CharField(max_length=200, required=False, label="Name")

    def __init__(self, tenants: Sequence[Tenant], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["tenant"]
        field.queryset = Tenant.objects.filter(pk__in=[each.pk for each in tenants])
        if len(tenants) == 1:
            field.initial, field.widget = tenants[0].pk, forms.HiddenInput()


@never_cache
@login_required
@sensitive_post_parameters("code")
@require_http_methods(["GET", "HEAD", "POST"])
def device_add(request: HttpRequest) -> HttpResponse:
    """Asks for the code, shows what it is for, and adds it when that was confirmed (POST)."""
    wanted = request.method == "POST"
    asked = request.POST if wanted else request.GET
    tenants = [*access.tenants(request.user, DEVICES_WRITE).order_by("name")[:_OFFERED]]
    tenants = [each for each in tenants if claim_codes.may_redeem(request.user, each)] if len(tenants) < 5 else tenants
    context: dict[str, Any] = {"may": bool(tenants), "form": CodeForm(initial={"code": asked.get("code", "")[:100]})}
    status = 200
    if tenants and (wanted or asked.get("code")):
        form = AddForm(tenants, asked) if wanted and "tenant" in asked else None
        try:
            if form is not None and form.is_valid():
                device = _redeem(request, form)
                messages.success(request, f"{device} is yours. It appears as soon as it is switched on and connected.")
                return redirect("device", device.device_id)
            found = _look(request, asked.get("code", ""))
        except DeviceError as error:
            context |= {"mistake": error.detail, "yours": _yours(request, asked.get("code", ""), error)}
            status = error.status if wanted else 200
        else:
            told = {
                "code": asked.get("code", "")[:100],
                "name": lifecycle.first_name(found.claim.device_type, found.hardware_id),
            }
            context |= {"found": found, "form": form or AddForm(tenants, initial=told), "tenants": tenants}
            status = 400 if form is not None else 200
    elif wanted:
        status = 403
    return render(request, "customers/device_add.html", context, status=status)


def _look(request: HttpRequest, code: str) -> ClaimCode:
    return claim_codes.look(code, request.user, timezone.now(), address=address_of(request))


def _redeem(request: HttpRequest, form: AddForm) -> Device:
    told = form.cleaned_data
    address = address_of(request)
    return claim_codes.redeem(told["code"], told["tenant"], request.user, timezone.now(), told["name"], address=address)


def _yours(request: HttpRequest, code: str, error: DeviceError) -> Device | None:
    """The device of a code that was used, for whoever may see it anyway."""
    return claim_codes.became(code, request.user) if error.code == "code_used" else None
