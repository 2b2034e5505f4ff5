"""The staff's pages of what acts for people: apps that may sign them in, their API tokens, the keys that sign."""

import secrets
from typing import Any
from urllib.parse import urlsplit

from allauth.idp.oidc.models import Client, Token
from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.views.decorators.debug import sensitive_variables

from devices import evidence
from devices.admin.base import FleetAdmin, ReadOnlyAdmin, with_reason
from devices.admin.once import Secret, shown_once
from devices.admin.words import call, replaced
from devices.badges import badge
from devices.models import ApiToken, SigningKey
from devices.people import api_tokens
from devices.people.scopes import SCOPES

_ONCE = "admin/devices/app/secret.html"
_IDENTITY = {
    "profile": "See the name and user name",
    "email": "See the e-mail address",
    "offline_access": "Go on while the person is away (refresh tokens)",
}
_LAPTOP = ("127.0.0.1", "::1")
_MOST = 20


class AppForm(forms.ModelForm):
    """What an app may ask people for, and where it may send them back."""

    asks = forms.MultipleChoiceField(
        label="May ask for",
        choices=[*_IDENTITY.items(), *SCOPES.items()],
        widget=forms.CheckboxSelectMultiple,
        required=False,
        help_text="Who the person is, it always learns. Each person is asked, and hands on no more than they may.",
    )

    class Meta:
        model = Client
        fields = ["name", "type", "redirect_uris"]
        labels = {"type": "Kind", "redirect_uris": "Redirect URIs"}
        help_texts = {
            "name": "People read it when they are asked.",
            "type": "Confidential: a server that keeps a secret, shown once. Public: an app on somebody's own device.",
            "redirect_uris": "Where people come back to with the answer. One a line, taken to the letter: https://…, a"
            " scheme of the app's own (com.example.app:/…), or http://127.0.0.1/… for an app on a computer, which may"
            " then use any port.",
        }
        widgets = {"redirect_uris": forms.Textarea(attrs={"rows": 3})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.name:
            self.fields["asks"].initial = self.instance.get_scopes()
        if "redirect_uris" in self.fields:
            self.fields["redirect_uris"].required = True

    def clean_redirect_uris(self) -> str:
        """Each is whole, and nobody can listen on the way."""
        uris = list(dict.fromkeys(self.cleaned_data["redirect_uris"].split()))
        for uri in uris[:_MOST]:
            mistake = mistake_in(uri)
            if mistake:
                raise ValidationError(f"{uri[:100]}: {mistake}")
        if len(uris) > _MOST:
            raise ValidationError(f"At most {_MOST}.")
        return "\n".join(uris)


def mistake_in(uri: str) -> str:
    """Why nobody may be sent back there; empty: they may."""
    try:
        told = urlsplit(uri)
    except ValueError:
        return "this is no address."
    if told.fragment or "#" in uri or "*" in uri or told.username is not None:
        return "no *, no # and no user name."
    if told.scheme == "https":
        return "" if told.hostname else "this is no address."
    if told.scheme == "http":
        return "" if told.hostname in _LAPTOP else "without TLS only on 127.0.0.1 or [::1]."
    return "" if "." in told.scheme else "a scheme of an app is a domain turned round, such as com.example.app."


class AppAdmin(FleetAdmin):
    """Apps. The secret is shown once; the same page makes a new one. Removing an app ends all it can do."""

    form = AppForm
    list_display = ["name", "id", "type", "scopes_told", "created_at"]
    list_filter = ["type"]
    search_fields = ["name", "=id"]
    ordering = ["name"]
    actions = ["new_secret"]
    readonly_fields = ["id", "created_at"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """The company's: apps belong to no tenant, and who may see the page sees all."""
        return admin.ModelAdmin.get_queryset(self, request)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """Its id comes of itself."""
        return ["name", "type", "redirect_uris", "asks", *(["id", "created_at"] if obj else [])]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """An app that got a secret does not become one without."""
        return [*self.readonly_fields, *(["type"] if obj else [])]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Unlike other rows: what it could do ends with it, and the event of that stays."""
        return admin.ModelAdmin.has_delete_permission(self, request, obj)

    def has_renew_permission(self, request: HttpRequest) -> bool:
        """Who may change it."""
        return self.has_change_permission(request)

    @sensitive_variables("secret")
    def save_model(self, request: HttpRequest, obj: Client, form: Any, change: bool) -> None:
        """The code with PKCE and what came of it: an app gets no other grant."""
        obj.set_scopes(["openid", *form.cleaned_data["asks"]])
        obj.grant_types = "authorization_code\nrefresh_token"
        obj.response_types = "code"
        obj.skip_consent = obj.allow_uri_wildcards = False
        if not change:
            secret = secrets.token_urlsafe(32)
            obj.set_secret(secret)
            obj.fresh = secret
        super().save_model(request, obj, form, change)

    def response_add(self, request: HttpRequest, obj: Client, post_url_continue: Any = None) -> HttpResponse:
        """The answer to the form is the only page with the secret; an app without one has nothing to show."""
        if obj.type == Client.Type.PUBLIC:
            return super().response_add(request, obj, post_url_continue)
        return shown_once(self, request, [_secret(obj, obj.fresh)], _page(obj), _ONCE, original=obj)

    @admin.action(description="New secret…", permissions=["renew"])
    def new_secret(self, request: HttpRequest, queryset: QuerySet[Client]) -> HttpResponse | None:
        """The old one is no longer good from then on."""
        made: list[Secret] = []

        @sensitive_variables("secret")
        def carry_out(row: Client, reason: str) -> bool:
            if row.type == Client.Type.PUBLIC:
                return False
            secret = secrets.token_urlsafe(32)
            row.set_secret(secret)
            row.save(update_fields=["secret"])
            evidence.record(
                "client.secret_renewed", user=request.user, reason=reason, detail={"id": row.pk, "name": row.name}
            )
            made.append(_secret(row, secret))
            return True

        notes = ["The old secrets are no longer good, at once.", "The new ones are shown once, on the next page."]
        answer = with_reason(self, request, queryset, "New secret", carry_out, about=str, notes=lambda: notes)
        return shown_once(self, request, made, reverse(f"admin:{_NAME}_changelist"), _ONCE) if made else answer

    @admin.display(description="May ask for")
    def scopes_told(self, row: Client) -> str:
        """By their names."""
        return ", ".join(row.get_scopes())


_NAME = f"{Client._meta.app_label}_{Client._meta.model_name}"


def _page(row: Client) -> str:
    return reverse(f"admin:{_NAME}_change", args=[row.pk])


@sensitive_variables("secret")
def _secret(row: Client, secret: str) -> Secret:
    return Secret(f"Secret of {row.name} (client id {row.pk})", secret, f"{row.pk[:12]}.txt")


# allauth registers pages of its own, on which secrets stand in messages and tokens are rows to edit.
replaced(Client, Token)
call(Client, "app", "apps")
Client.add_to_class("__str__", lambda row: row.name or row.pk)  # theirs is the client id, which nobody knows it by
call(ApiToken, "API token", "API tokens")
admin.site.register(Client, AppAdmin)


@admin.register(ApiToken)
class ApiTokenAdmin(ReadOnlyAdmin):
    """Tokens of people's programs. Their people make them; staff revoke what got lost."""

    list_display = ["prefix", "name", "tenant", "user", "state_badge", "expires_at", "last_used_at"]
    list_filter = [("tenant", admin.RelatedOnlyFieldListFilter)]
    list_select_related = ["tenant", "user"]
    search_fields = ["=prefix", "=user__username"]
    search_help_text = "The first 12 characters (never a whole token), or the whole user name"
    ordering = ["-created_at"]
    fields = [
        "prefix",
        "name",
        "tenant",
        "user",
        "state_badge",
        "scopes",
        "created_at",
        "expires_at",
        "last_used_at",
        "revoked_at",
    ]
    readonly_fields = ["state_badge"]
    actions = ["revoke"]

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Rows are never edited; the right to change them is the right to revoke."""
        return request.user.has_perm("devices.change_apitoken")

    @admin.action(description="Revoke…", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> HttpResponse | None:
        """At once and for good."""
        now = timezone.now()

        def carry_out(row: ApiToken, reason: str) -> bool:
            return api_tokens.revoke(row, request.user, now, reason)

        return with_reason(self, request, queryset.select_related("tenant", "user"), "Revoke", carry_out, about=_about)

    @admin.display(description="State")
    def state_badge(self, row: ApiToken) -> SafeString:
        """May it be used?"""
        if row.revoked_at:
            return badge("revoked", "Revoked")
        return badge("active", "Good") if row.is_good(timezone.now()) else badge("expired", "Expired")


def _about(row: ApiToken) -> str:
    return f"{row} of {row.user} for {row.tenant}"


@admin.register(SigningKey)
class SigningKeyAdmin(ReadOnlyAdmin):
    """When which key signs. They come and go by themselves; a lost one ends with `manage.py rotate_signing_key`."""

    list_display = ["__str__", "state_badge", "not_before", "expires_at", "created_at"]
    fields = ["state_badge", "not_before", "expires_at", "created_at"]
    readonly_fields = ["state_badge"]
    ordering = ["-not_before"]

    @admin.display(description="State")
    def state_badge(self, row: SigningKey) -> SafeString:
        """What is it there for?"""
        now = timezone.now()
        if row.not_before > now:
            return badge("pending", "Announced")
        return badge("active", "In use") if row.expires_at > now else badge("expired", "Over")
