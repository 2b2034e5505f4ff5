"""Who may ask: the ways of the API to say who one is, and which of them a door takes."""

from typing import Any, Final

from django.conf import settings
from drf_spectacular.drainage import warn

SESSION, TOKEN, APP = "session", "apiToken", "openId"
DEVICE_TOKEN, DEVICE_CERTIFICATE, CLAIM, UPLOAD = "deviceToken", "deviceCertificate", "claim", "uploadToken"


def _bearer(text: str, form: str) -> dict[str, Any]:
    return {"type": "http", "scheme": "bearer", "bearerFormat": form, "description": text}


SCHEMES: Final[dict[str, dict[str, Any]]] = {
    TOKEN: _bearer(
        "An API token that a person made for a program. It does what its scopes say, in one organisation, and never "
        "more than its person may.",
        "fpa_…",
    ),
    APP: {
        "type": "openIdConnect",
        "openIdConnectUrl": "/.well-known/openid-configuration",
        "description": "An access token of our OpenID provider, for apps in whose name a person signed in: "
        "authorization code with PKCE. Scopes as listed with each operation.",
    },
    SESSION: {
        "type": "apiKey",
        "in": "cookie",
        "name": settings.SESSION_COOKIE_NAME,
        "description": "The session of somebody who signed in with a browser. What changes something also needs the "
        f"header `X-CSRFToken` with the value of the cookie `{settings.CSRF_COOKIE_NAME}`.",
    },
    DEVICE_CERTIFICATE: {
        "type": "mutualTLS",
        "description": "The client certificate of a device, at the devices' own address (`endpoints.https`).",
    },
    DEVICE_TOKEN: _bearer("The token of a device that cannot do client certificates.", "fpd_…"),
    CLAIM: _bearer("A claim: what a device that has no identity yet brings along to get one.", "fpc_…"),
    UPLOAD: _bearer("The token of a build server. It uploads releases and does nothing else.", "fpu_…"),
}
"""Name → security scheme."""

WITH_SCOPES: Final = frozenset({TOKEN, APP})
"""What only opens doors that name a scope."""

BY_AUTHENTICATION: Final[dict[str, tuple[str, ...]]] = {
    "BearerAuthentication": (TOKEN, APP),
    "SessionAuthentication": (SESSION,),
    "DeviceAuthentication": (DEVICE_CERTIFICATE, DEVICE_TOKEN),
    "UploadTokenAuthentication": (UPLOAD,),
}
"""Class of authentication → the schemes it takes. One that is not here is a mistake, which a test finds."""

_ONLY: Final = {UPLOAD: ("POST",)}


def required(authentications: list[Any], scope: str | None, method: str) -> list[dict[str, list[str]]]:
    """Any one of these will do."""
    names: list[str] = []
    for kind in (type(each).__name__ for each in authentications):
        if kind not in BY_AUTHENTICATION:
            warn(f"nobody told how {kind} is described")
        names += [name for name in BY_AUTHENTICATION.get(kind, ()) if method in _ONLY.get(name, (method,))]
    with_scope = [{name: [scope]} for name in names if name in WITH_SCOPES and scope]
    return with_scope + [{name: list[str]()} for name in names if name not in WITH_SCOPES] or [{}]
