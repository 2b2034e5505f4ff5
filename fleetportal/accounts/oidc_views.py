"""Doors of the OpenID provider: what clients discover, the page where a person agrees, and the exchange of tokens."""

import base64
from contextlib import suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from allauth.core.internal.httpkit import add_query_params, del_query_params
from allauth.idp.oidc.internal.oauthlib.utils import convert_response, extract_params
from csp.constants import SELF
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseForbidden, HttpResponseRedirect, JsonResponse
from django.http.response import HttpResponseBase
from django.middleware.csrf import CsrfViewMiddleware
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.debug import sensitive_post_parameters
from oauthlib.oauth2.rfc6749 import errors
from redis import RedisError

from devices import evidence
from devices.models import Tenant
from devices.people import signing_keys
from devices.tenancy import sees_all
from fleetportal.accounts import attempts, oidc
from fleetportal.accounts.oidc_server import GRANTS, get_server

_JWKS_SECONDS = 3600
"""How long JWKS may be kept: a fraction of the time for which a key is announced."""
_RETRY_SECONDS = 10
_SHOWN = 5


class ConfigurationView(View):
    """`GET /.well-known/openid-configuration` (OpenID Connect Discovery): every address from PORTAL_URL."""

    def get(self, request: HttpRequest) -> HttpResponse:
        """Tell."""
        try:
            base = signing_keys.issuer()
        except ImproperlyConfigured as error:
            raise Http404("Without PORTAL_URL there is no provider.") from error
        names = ("authorization", "token", "userinfo", "revoke", "jwks")
        urls = {name: base + reverse(f"idp:oidc:{name}") for name in names}
        told = {
            "issuer": base,
            "authorization_endpoint": urls["authorization"],
            "token_endpoint": urls["token"],
            "userinfo_endpoint": urls["userinfo"],
            "revocation_endpoint": urls["revoke"],
            "jwks_uri": urls["jwks"],
            "scopes_supported": list(oidc.WORDS),
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": sorted(GRANTS),
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [signing_keys.ALGORITHM],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
            "revocation_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
            "claims_parameter_supported": False,
            "request_parameter_supported": False,
            "request_uri_parameter_supported": False,
            "claims_supported": ["sub", "name", "given_name", "family_name", "preferred_username", "email",
                                 "email_verified"],
        }  # fmt: skip
        return _public(JsonResponse(told))


class JwksView(View):
    """`GET /.well-known/jwks.json` (RFC 7517): the keys that sign, did, and will from tomorrow on."""

    def get(self, request: HttpRequest) -> HttpResponse:
        """Tell."""
        answer = JsonResponse({"keys": [key.jwk for key in signing_keys.public(timezone.now())]})
        answer["Cache-Control"] = f"public, max-age={_JWKS_SECONDS}"
        return _public(answer)


@method_decorator([never_cache, csrf_exempt], name="dispatch")
class AuthorizationView(View):
    """`GET|POST /identity/o/authorize`: an app asks, its person reads what for, and agrees or not.

    The page's form comes back to the same address, so what was shown is judged once more and nothing is carried along.
    """

    def get(self, request: HttpRequest) -> HttpResponse:
        """The question."""
        asked, answer = self._asked(request)
        return answer or self._page(request, asked)

    def post(self, request: HttpRequest) -> HttpResponse:
        """The person's decision; without one it is a client that asks by POST, which is as good as GET."""
        if "decision" not in request.POST:
            return HttpResponseRedirect(f"{request.path}?{request.POST.urlencode()}")
        if CsrfViewMiddleware(lambda _: HttpResponse()).process_view(request, self.post, (), {}):
            return HttpResponseForbidden("This form was not ours, or is too old. Go back and try again.")
        asked, answer = self._asked(request)
        if answer is not None:
            return answer
        if request.POST["decision"] != "allow" or not asked["scopes"]:
            return _back(asked["redirect_uri"], {"error": "access_denied", "state": asked["state"]})
        credentials = {"user": request.user}
        try:
            headers, _, _ = get_server().create_authorization_response(
                request.get_full_path(), "GET", None, {}, scopes=asked["scopes"], credentials=credentials
            )
        except errors.OAuth2Error as error:  # it was good a moment ago
            return _mistake(request, error)
        detail = {"app": asked["client"].name, "client_id": asked["client"].pk, "scopes": asked["scopes"]}
        evidence.record("app.allowed", user=request.user, detail=detail)
        return _back(headers["Location"], {})

    def _asked(self, request: HttpRequest) -> tuple[dict[str, Any], HttpResponse | None]:
        """What an app asks for; or the answer, where there is nothing to ask its person."""
        try:
            scopes, told = get_server().validate_authorization_request(request.get_full_path(), "GET", None, {})
        except errors.FatalClientError as error:
            return {}, _mistake(request, error)
        except errors.OAuth2Error as error:
            uri = request.GET.get("redirect_uri", "")  # it was found registered before anything else was looked at
            return {}, _back(uri, dict(error.twotuples) | {"state": request.GET.get("state")})
        except ValueError:
            return {}, _mistake(request, None)
        prompts = request.GET.get("prompt", "").split()
        if not request.user.is_authenticated:
            return {}, redirect_to_login(request.get_full_path())
        if "login" in prompts:
            left = " ".join(each for each in prompts if each != "login")
            path = del_query_params(request.get_full_path(), "prompt")
            path = add_query_params(path, {"prompt": left}) if left else path
            return {}, HttpResponseRedirect(add_query_params(reverse("account_reauthenticate"), {"next": path}))
        return {
            "client": told["request"].client,
            "redirect_uri": told["redirect_uri"],
            "state": told["state"],
            "scopes": oidc.grantable(request.user, scopes),
            "asked": scopes,
        }, None

    def _page(self, request: HttpRequest, asked: dict[str, Any]) -> HttpResponse:
        user, target = request.user, urlsplit(asked["redirect_uri"])
        tenants = list(Tenant.objects.visible_to(user)[: _SHOWN + 1])
        context = {
            "client": asked["client"],
            "host": target.hostname if target.scheme in ("http", "https") else asked["redirect_uri"],
            "about_you": [oidc.WORDS[each] for each in asked["scopes"] if each in oidc.IDENTITY],
            "allowed": [oidc.WORDS[each] for each in asked["scopes"] if each not in oidc.IDENTITY],
            "left_out": [oidc.WORDS[each] for each in asked["asked"] if each not in asked["scopes"]],
            "everything": sees_all(user),
            "tenants": tenants[:_SHOWN],
            "more": len(tenants) > _SHOWN,
        }
        answer = render(request, "idp/consent.html", context)
        # The answer to its form leads to the app; browsers judge that by the policy of the page with the form.
        origin = f"{target.scheme}://{target.netloc}" if target.scheme in ("http", "https") else f"{target.scheme}:"
        answer._csp_update = {"form-action": [SELF, origin]}  # type: ignore[attr-defined]
        return answer


@method_decorator([csrf_exempt, sensitive_post_parameters()], name="dispatch")
class ClientView(View):
    """Base of what clients ask with their secret: wrong ones are counted by address and client."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """No answer is kept anywhere."""
        client = _client_id(request)
        wait = attempts.wait(request, "client", client)
        if wait:
            told = {"error": "temporarily_unavailable", "error_description": "Too many wrong attempts."}
            return JsonResponse(told, status=429, headers={"Retry-After": str(wait), "Cache-Control": "no-store"})
        try:
            answer = super().dispatch(request, *args, **kwargs)
        except RedisError:  # codes are kept in Valkey; nothing was changed
            told = {"error": "temporarily_unavailable", "error_description": "Come again in a moment."}
            answer = JsonResponse(told, status=503, headers={"Retry-After": str(_RETRY_SECONDS)})
        if answer.status_code == HTTPStatus.UNAUTHORIZED:
            attempts.failed(request, "client", client)
        answer["Cache-Control"] = "no-store"
        return answer


class TokenView(ClientView):
    """`POST /identity/o/api/token`: a code, or a refresh token, for tokens. What it changes, it changes as a whole."""

    def post(self, request: HttpRequest) -> HttpResponse:
        """Exchange. A refusal is committed, too: it may have ended a family."""
        with transaction.atomic():
            try:
                return _answer(*get_server().create_token_response(*extract_params(request)))
            except errors.OAuth2Error as error:
                return _refusal(error)
            except ValueError:
                return _refusal(errors.InvalidRequestError())


class RevokeView(ClientView):
    """`POST /identity/o/api/revoke` (RFC 7009): an app gives a token back, and with it its whole family."""

    def post(self, request: HttpRequest) -> HttpResponse:
        """200, whether there was such a token or not."""
        try:
            return _answer(*get_server().create_revocation_response(*extract_params(request)))
        except ValueError:
            return _refusal(errors.InvalidRequestError())


@method_decorator([csrf_exempt, never_cache], name="dispatch")
class UserInfoView(View):
    """`GET|POST /identity/o/api/userinfo`: who the person of an access token is, as far as its scopes tell."""

    def get(self, request: HttpRequest) -> HttpResponse:
        """Tell."""
        try:
            return _answer(*get_server().create_userinfo_response(*extract_params(request)))
        except errors.OAuth2Error as error:
            return _refusal(error)
        except ValueError:
            return _refusal(errors.InvalidRequestError())

    def post(self, request: HttpRequest) -> HttpResponse:
        """As GET."""
        return self.get(request)


def _client_id(request: HttpRequest) -> str:
    """Who it says it is, with Basic authentication or in its form (RFC 6749, 2.3.1)."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        with suppress(ValueError):
            return base64.b64decode(value, validate=True).decode().partition(":")[0]
    return request.POST.get("client_id", "")


def _answer(headers: dict[str, str], body: Any, status: int) -> HttpResponse:
    """What oauthlib says, as Django says it."""
    answer: HttpResponse = convert_response(headers, body, status)
    return answer


def _public(answer: HttpResponse) -> HttpResponse:
    answer["Access-Control-Allow-Origin"] = "*"
    return answer


def _refusal(error: errors.OAuth2Error) -> HttpResponse:
    return JsonResponse(dict(error.twotuples), status=error.status_code, headers=error.headers)


def _mistake(request: HttpRequest, error: errors.OAuth2Error | None) -> HttpResponse:
    """A request that nobody may be sent back from: the app is not known, or not under this address."""
    detail = error.description if error else ""
    return render(request, "idp/mistake.html", {"detail": detail}, status=400)


def _back(uri: str, told: dict[str, str | None]) -> HttpResponse:
    """To the app, by whatever scheme it has; with our name, so that it knows who answers (RFC 9207)."""
    known = {name: value for name, value in told.items() if value}
    answer = HttpResponse(status=HTTPStatus.FOUND)
    answer["Location"] = add_query_params(uri, {**known, "iss": signing_keys.issuer()})
    return answer
