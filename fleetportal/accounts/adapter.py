"""Who may sign up, where people land, which address they come from: django-allauth asks here."""

import base64
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.models import EmailAddress
from allauth.core import context
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.usersessions.adapter import DefaultUserSessionsAdapter
from allauth.usersessions.models import UserSession
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.contrib import messages
from django.db import IntegrityError, transaction
from django.http import HttpRequest
from django.shortcuts import resolve_url
from django.urls import reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.debug import sensitive_variables

from devices import evidence
from devices.people import addresses, credentials
from devices.throttles import address_of

UNKNOWN_ADDRESS = "::"
AGAIN = {
    "mfa_reauthenticate:webauthn": "Use a passkey or security key",
    "mfa_reauthenticate": "Use an app or recovery code",
    "reauthenticate": "Use your password",
}
"""Ways to show once more who one is, as django-allauth calls them → what they are called on the page."""


class Adapter(DefaultAccountAdapter):
    """Accounts are made by invitation or by staff."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Nobody signs up by themselves."""
        return False

    def get_login_redirect_url(self, request: HttpRequest) -> str:
        """Staff go to the admin, customers to their overview."""
        return reverse("admin:index") if request.user.is_staff else resolve_url("overview")

    def is_safe_url(self, url: str | None) -> bool:
        """Only this host: what else may be served here is no place to be sent to."""
        request = context.request
        return url_has_allowed_host_and_scheme(url, {request.get_host()}, require_https=request.is_secure())

    def get_client_ip(self, request: HttpRequest) -> str:
        """As everywhere in the portal; django-allauth keeps it in a column for addresses and nothing else."""
        try:
            return str(ip_address(address_of(request)))
        except ValueError:
            return UNKNOWN_ADDRESS

    def get_reauthentication_methods(self, user: Any) -> list[dict[str, Any]]:
        """What people have at hand comes first: a passkey, then a code, then the password."""
        found = {each["id"]: each for each in super().get_reauthentication_methods(user)}
        return [found[key] | {"description": words} for key, words in AGAIN.items() if key in found]

    def confirm_email(self, request: HttpRequest, email_address: EmailAddress) -> bool:
        """All of it or nothing; and not what somebody else signs in with since it was asked for."""
        try:
            with transaction.atomic():
                if not addresses.is_taken(email_address.email, email_address.user_id):
                    addresses.free(email_address.email)
                    return bool(super().confirm_email(request, email_address))
        except IntegrityError:  # in this very moment
            email_address.refresh_from_db()
        told = {"email": email_address.email}
        self.add_message(request, messages.ERROR, "account/messages/email_confirmation_failed.txt", told)
        return False

    @sensitive_variables("password")
    def set_password(self, user: Any, password: str) -> None:
        """By its owner, who knew the old one or has a mail of ours. Here and not by a signal: those come after mails.

        A mail server that is away must not keep a thief's tokens alive.
        """
        match = context.request.resolver_match
        reset = bool(match and (match.url_name or "").startswith("account_reset_password"))
        with transaction.atomic():
            super().set_password(user, password)
            kind = "account.password_reset" if reset else "account.password_changed"
            credentials.password_set(user, kind, timezone.now())


class SecondFactorAdapter(DefaultMFAAdapter):
    """Names of second factors as people know them, and their secrets as they are kept."""

    def encrypt(self, text: str) -> str:
        """Whoever reads the database, or a copy of it, makes nobody's codes."""
        return _cipher().encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text: str) -> str:
        """As it was."""
        return _cipher().decrypt(encrypted_text.encode()).decode()

    def generate_authenticator_name(self, user: Any, type: Any) -> str:  # noqa: A002 (as allauth calls it)
        """What a new key is called before somebody names it."""
        number = user.authenticator_set.filter(type=type).count() + 1
        return "Passkey" if number == 1 else f"Passkey {number}"


class SessionsAdapter(DefaultUserSessionsAdapter):
    """Sessions that somebody ends from another."""

    def end_sessions(self, sessions: Iterable[UserSession]) -> None:
        """As usual, and with evidence."""
        ending = list(sessions)
        with transaction.atomic():
            super().end_sessions(ending)
            if ending:
                evidence.record("account.sessions_ended", user=context.request.user, detail={"sessions": len(ending)})


def _cipher() -> Fernet:
    """By the passphrase that opens the signing keys, too: SECRET_KEY changes more easily, and all would be lost."""
    derived = HKDF(SHA256(), 32, salt=None, info=b"second factor").derive(settings.CA_KEY_PASSPHRASE.encode())
    return Fernet(base64.urlsafe_b64encode(derived))
