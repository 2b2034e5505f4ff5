"""Who may sign up, where people land, which address they come from: django-allauth asks here."""

import base64
from collections.abc import Iterable
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core import context
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.usersessions.adapter import DefaultUserSessionsAdapter
from allauth.usersessions.models import UserSession
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest
from django.shortcuts import resolve_url
from django.urls import reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.debug import sensitive_variables

from devices import evidence
from devices.people import credentials

UNKNOWN_ADDRESS = "::"


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
        """As everywhere in the portal: who connected, told by uvicorn, which believes its own proxy only."""
        return str(request.META.get("REMOTE_ADDR") or UNKNOWN_ADDRESS)

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
