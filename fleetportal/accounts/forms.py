"""Forms of signing in: allauth's, with names that browsers and people know, and with our own counting of guesses."""

from typing import Any

from allauth.account.forms import AddEmailForm, LoginForm, ResetPasswordForm
from allauth.mfa import app_settings
from allauth.mfa.adapter import get_adapter
from allauth.mfa.base.forms import AuthenticateForm, ReauthenticateForm
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import validate_totp_code
from allauth.mfa.utils import decrypt
from allauth.mfa.webauthn.forms import AddWebAuthnForm
from django import forms
from django.core.validators import EmailValidator
from django.views.decorators.debug import sensitive_variables

from devices.people import second_factor
from fleetportal.accounts import guesses

NO_ADDRESS = "This is not an e-mail address."


class SignInForm(LoginForm):
    """Name or address, and password. Its field is `username`, as password managers expect it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""
        self.fields["login"].label = "Username or e-mail address"
        self.fields["login"].max_length = 254
        self.fields["login"].widget = forms.TextInput(
            attrs={"autocomplete": "username webauthn", "autocapitalize": "none", "spellcheck": "false"}
        )
        self.fields["login"].widget.attrs["autofocus"] = True
        password = self.fields["password"]
        password.help_text = ""
        password.widget.attrs = {"autocomplete": "current-password"}

    def add_prefix(self, field_name: str) -> str:
        """The name in the page."""
        return str(super().add_prefix("username" if field_name == "login" else field_name))


class _Addressed:
    """An address, called as everywhere in the portal."""

    fields: dict[str, forms.Field]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["email"]
        field.label = "E-mail address"
        field.error_messages["invalid"] = NO_ADDRESS
        field.validators = [EmailValidator(NO_ADDRESS)]
        field.widget.attrs.pop("placeholder", None)


class ForgottenForm(_Addressed, ResetPasswordForm):
    """Where the link to set a new password is mailed to."""


class AddressForm(_Addressed, AddEmailForm):
    """Another address of somebody."""


class _Guessed:
    """Codes are slowed down for each person: who is asked for one knows the password already."""

    user: Any
    fields: dict[str, forms.Field]
    cleaned_data: dict[str, Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        has = second_factor.kinds(self.user)
        self.has_passkey = Authenticator.Type.WEBAUTHN in has
        field = self.fields["code"]
        if Authenticator.Type.TOTP in has:
            field.help_text = "Six digits of your app, or a recovery code."
        else:
            field.label, field.help_text = "Recovery code", "No passkey at hand? One of the codes that you put aside."
        field.widget = forms.TextInput(
            attrs={"autocomplete": "one-time-code", "inputmode": "numeric", "autofocus": not self.has_passkey}
        )

    @sensitive_variables("code")
    def clean_code(self) -> str:
        """Six digits of the app, or a recovery code."""
        key = guesses.key_of(f"code|{self.user.pk}")
        if guesses.too_many(key):
            raise forms.ValidationError("Too many attempts. Wait five minutes and try again.", "too_many")
        code: str = self.cleaned_data["code"]
        rows = list(Authenticator.objects.filter(user=self.user).exclude(type=Authenticator.Type.WEBAUTHN))
        for row in rows:
            if self._is_right(row, code):
                row.user = self.user
                self.authenticator = row
                guesses.forget(key)
                return code
        if rows:
            self._emit_authentication_failed(rows[0])  # type: ignore[attr-defined]
        raise get_adapter().validation_error("incorrect_code")

    def _is_right(self, row: Authenticator, code: str) -> bool:
        if row.type != Authenticator.Type.TOTP:
            return bool(row.wrap().validate_code(code))
        if not validate_totp_code(decrypt(row.data["secret"]), code):
            return False
        # Somebody who watched the screen must not use it after them, for as long as it is good.
        seconds = app_settings.TOTP_PERIOD * (2 * app_settings.TOTP_TOLERANCE + 1)
        digits = "".join(each for each in code if each.isdigit())
        return guesses.is_first_use(guesses.key_of(f"used|{self.user.pk}|{digits}"), seconds)


class PasskeyForm(AddWebAuthnForm):
    """A passkey signs in by itself, as most people mean it; without, it is a second factor only."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["passwordless"]
        field.label, field.initial = "Sign in without a password", True
        field.help_text = "It asks for your fingerprint, face or PIN. Not ticked: it is asked for after the password."


class CodeForm(_Guessed, AuthenticateForm):
    """The second step of signing in."""


class CodeAgainForm(_Guessed, ReauthenticateForm):
    """A code once more, before something that matters."""
