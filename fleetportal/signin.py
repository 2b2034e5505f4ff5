"""Signing in by password, slowed down against guessing."""

import hashlib
import unicodedata

import structlog
from django.conf import settings
from django.contrib.auth import views as auth_views
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from redis import RedisError

log = structlog.get_logger(__name__)
WINDOW_SECONDS = 300
ADDRESS_FACTOR = 10
"""An address may fail so many times more often than one name from it: offices share one."""


class SignIn(auth_views.LoginView):
    """The sign-in page of customers and staff; staff land in the admin."""

    template_name = "registration/sign_in.html"
    redirect_authenticated_user = True

    def post(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        """Refuse more than SIGN_IN_ATTEMPTS for a name and address, and ten times that for an address, in five minutes.

        Attempts are counted before they are judged, so that many at once are not all let through.
        """
        name, address = keys(request)
        if _count(name) > settings.SIGN_IN_ATTEMPTS or _count(address) > settings.SIGN_IN_ATTEMPTS * ADDRESS_FACTOR:
            form = self.get_form()
            form.add_error(None, "Too many attempts. Wait five minutes and try again.")
            log.warning("sign_in_throttled")
            return self.render_to_response(self.get_context_data(form=form), status=429)
        response = super().post(request, *args, **kwargs)
        if response.status_code == 302:
            _forget(name)
        return response

    def get_default_redirect_url(self) -> str:
        """Staff go to the admin, customers to their overview."""
        if self.request.user.is_staff:
            return reverse("admin:index")
        return super().get_default_redirect_url()


def keys(request: HttpRequest) -> tuple[str, str]:
    """Cache keys of what is counted: the name, as the form understands it, with its address; and the address alone."""
    address = request.META.get("REMOTE_ADDR", "")
    name = unicodedata.normalize("NFKC", request.POST.get("username", "")[:200]).strip().casefold()
    return _key(f"{name}|{address}"), _key(address)


def _key(text: str) -> str:
    """Hashed, as names and addresses are personal."""
    return "sign-in:" + hashlib.sha256(text.encode(errors="replace")).hexdigest()


def _count(key: str) -> int:
    """Count an attempt. None while the cache is away: a broken cache must not lock everyone out."""
    try:
        cache.add(key, 0, WINDOW_SECONDS)
        return int(cache.incr(key))
    except (RedisError, ValueError):
        log.warning("sign_in_not_counted")
        return 0


def _forget(key: str) -> None:
    """Who knows the password did not guess."""
    try:
        cache.delete(key)
    except RedisError:
        log.warning("sign_in_not_forgotten")
