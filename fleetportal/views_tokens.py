"""What acts for somebody: their API tokens, and the apps they have allowed."""

from datetime import timedelta
from typing import Any

from allauth.idp.oidc.models import Client
from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_http_methods, require_POST

from devices.models import ApiToken, Membership
from devices.people import api_tokens, families
from devices.people.scopes import SCOPES
from fleetportal.accounts.oidc import WORDS

SHOWN = 50
"""Tokens on the page, the newest."""
LIFETIMES = [(30, "30 days"), (90, "90 days"), (365, "a year"), (api_tokens.MAX_LIFETIME.days, "two years")]


class TokenForm(forms.Form):
    """Of which organisation, what for, what it may do, how long."""

    name = forms.CharField(label="What is it for?", max_length=100)
    tenant = forms.ChoiceField(label="Organisation")
    scopes = forms.MultipleChoiceField(label="What may it do?", widget=forms.CheckboxSelectMultiple)
    days = forms.TypedChoiceField(label="Good for", choices=LIFETIMES, coerce=int, initial=90)

    def __init__(self, *args: Any, memberships: list[Membership], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.memberships = {str(each.tenant_id): each for each in memberships}
        held = {scope for each in memberships for scope in api_tokens.offered(each.role)}
        self.fields["tenant"].choices = [(key, each.tenant.name) for key, each in self.memberships.items()]  # type: ignore[attr-defined]
        self.fields["scopes"].choices = [(each, words) for each, words in SCOPES.items() if each in held]  # type: ignore[attr-defined]
        if len(memberships) == 1:
            self.fields["tenant"].widget = forms.HiddenInput()
            self.fields["tenant"].initial = str(memberships[0].tenant_id)


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@sensitive_variables("secret")
def tokens(request: HttpRequest) -> HttpResponse:
    """The list, the form, and the apps. The answer to the form is the only page with the new token."""
    now, secret = timezone.now(), ""
    rows = Membership.objects.visible_to(request.user).filter(user_id=request.user.pk or 0).select_related("tenant")
    memberships = list(rows)
    sent = request.POST if request.method == "POST" else None
    form = TokenForm(sent, memberships=memberships)
    if sent is not None and form.is_valid():
        told = form.cleaned_data
        tenant = form.memberships[told["tenant"]].tenant
        try:
            life = timedelta(days=told["days"])
            _, secret = api_tokens.make(request.user, tenant, told["name"], told["scopes"], life, now)
            form = TokenForm(None, memberships=memberships)
        except api_tokens.ApiTokenError as error:
            form.add_error("scopes" if error.code == "token_scopes" else None, error.detail)
    context = {
        "tokens": [_told(row, now) for row in api_tokens.mine(request.user)[:SHOWN]],
        "several": len(memberships) > 1,
        "form": form if memberships else None,
        "secret": secret,
        "apps": [_app(each) for each in families.connected(request.user, now)],
        "scopes": SCOPES,
    }
    return render(request, "customers/tokens.html", context, status=400 if sent is not None and not secret else 200)


@never_cache
@login_required
@require_POST
def token_revoke(request: HttpRequest, pk: int) -> HttpResponse:
    """End a token of mine."""
    row: ApiToken = get_object_or_404(api_tokens.mine(request.user), pk=pk)
    if api_tokens.revoke(row, request.user, timezone.now()):
        messages.success(request, f"{row.name} is revoked: it gets no more answers.")
    return redirect("tokens")


@never_cache
@login_required
@require_POST
def app_end(request: HttpRequest, client_id: str) -> HttpResponse:
    """Take an app's access away."""
    connected = {each["client"].pk: each["client"] for each in families.connected(request.user, timezone.now())}
    client: Client = connected.get(client_id) or get_object_or_404(Client.objects.none())
    families.disconnect(request.user, client, "Taken away by its person")
    messages.success(request, f"{client.name} has no access any more.")
    return redirect("tokens")


def _told(row: ApiToken, now: Any) -> dict[str, Any]:
    if row.revoked_at:
        badge, word = "revoked", "Revoked"
    elif not row.is_good(now):
        badge, word = "expired", "Expired"
    else:
        badge, word = ("active", "Active") if row.last_used_at else ("pending", "Never used")
    return {"row": row, "badge": badge, "word": word, "good": row.is_good(now)}


def _app(told: dict[str, Any]) -> dict[str, Any]:
    return {**told, "words": [words for scope, words in WORDS.items() if scope in told["scopes"]]}
