"""Signing in by password, slowed down against guessing. A second factor and passkeys are django-allauth's pages."""

import unicodedata

import structlog
from allauth.account.views import LoginView
from django.http import HttpRequest, HttpResponse

from devices.throttles import address_of
from fleetportal.accounts import guesses
from fleetportal.accounts.forms import SignInForm

log = structlog.get_logger(__name__)


class SignIn(LoginView):
    """The sign-in page of customers and staff; where they land is the adapter's to say."""

    template_name = "registration/sign_in.html"
    form_class = SignInForm
    http_method_names = ["get", "head", "post", "options"]

    def post(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        """Refuse more than SIGN_IN_ATTEMPTS for a name and address, and ten times that for an address, in five minutes.

        Attempts are counted before they are judged, so that many at once are not all let through; and one too many is
        not judged at all, as its answer would tell what was asked.
        """
        name, address = keys(request)
        throttled = [guesses.too_many(name), guesses.too_many(address, guesses.ADDRESS_FACTOR)]
        if any(throttled):
            log.warning("sign_in_throttled")
            form = SignInForm(request=request, initial={"login": request.POST.get("username", "")[:200]})
            refused: HttpResponse = self.render_to_response(
                self.get_context_data(form=form, throttled=True), status=429
            )
            return refused
        response: HttpResponse = super().post(request, *args, **kwargs)
        if response.status_code == 302:
            guesses.forget(name)
        return response


def keys(request: HttpRequest) -> tuple[str, str]:
    """Cache keys of what is counted: the name, as the form understands it, with its address; and the address alone."""
    address = address_of(request)
    name = unicodedata.normalize("NFKC", request.POST.get("username", "")[:200]).strip().casefold()
    return guesses.key_of(f"{name}|{address}"), guesses.key_of(address)
