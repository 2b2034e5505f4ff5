"""How somebody wants to see the portal."""

from zoneinfo import available_timezones

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from devices.models import Preference
from devices.people import preferences as people
from fleetportal.accounts.receivers import keep_preferences


def _zones() -> list[tuple[str, str]]:
    names = sorted(name for name in available_timezones() if "/" in name and not name.startswith("Etc/"))
    return [("", "As my browser says"), ("UTC", "UTC"), *((name, name.replace("_", " ")) for name in names)]


class PreferenceForm(forms.Form):
    """Time zone and theme."""

    timezone = forms.ChoiceField(label="Time zone", required=False, choices=_zones)
    theme = forms.ChoiceField(label="Appearance", choices=Preference.Theme.choices, widget=forms.RadioSelect)


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def preferences(request: HttpRequest) -> HttpResponse:
    """Show and keep them."""
    row = people.of(request.user)
    sent = request.POST if request.method == "POST" else None
    form = PreferenceForm(sent, initial={"timezone": row.timezone, "theme": row.theme})
    if sent is not None and form.is_valid():
        people.save(request.user, form.cleaned_data["timezone"], form.cleaned_data["theme"])
        keep_preferences(request, request.user)
        messages.success(request, "Saved.")
        return redirect("preferences")
    return render(request, "customers/preferences.html", {"form": form}, status=400 if sent is not None else 200)
