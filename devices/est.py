"""EST (RFC 7030, RFC 8951): the door of devices that speak the standard instead of our JSON.

`/.well-known/est[/LABEL]/…`, where the label is the slug of a device type and may be left out. Clients post to
`simplereenroll` as soon as they have any client certificate, even one that is only a claim: so the caller's role
decides, not the path. Refusals are text, which clients print.
"""

import base64
from datetime import datetime

from cryptography import x509
from django.db.models import Q
from django.http import HttpResponse
from django.utils import timezone
from rest_framework.permissions import AllowAny
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from devices import admission, callers, est_wire, pki
from devices.approvals import Waiting
from devices.errors import CertificateError, ProvisioningError
from devices.models import Authority, DeviceType
from devices.throttles import Throttle

MAX_BODY = 2 * pki.MAX_CSR_BYTES
_CHALLENGE = 'Basic realm="est"'


class EstView(APIView):
    """What all operations share: whatever a client accepts, it gets what the standard says."""

    authentication_classes = ()
    permission_classes = (AllowAny,)  # the certificate or the claim is the credential, judged by the use case
    throttle_classes = (Throttle,)
    throttle_scope = "est"

    def perform_content_negotiation(self, request: Request, force: bool = False) -> tuple[BaseRenderer, str]:
        """Nothing is negotiated: real clients send no `Accept`, or one that names what they get anyway."""
        return JSONRenderer(), "application/json"

    def handle_exception(self, exc: Exception) -> Response:
        """The problem's text and code in one line, for clients that print what they do not understand."""
        problem = super().handle_exception(exc)
        text = f"{problem.data['detail']} ({problem.data['error_code']})\n"
        answer = HttpResponse(text, status=problem.status_code, content_type="text/plain; charset=utf-8")
        for name in ("Retry-After", "Allow"):
            if name in problem.headers:
                answer[name] = problem.headers[name]
        if answer.status_code == 401:
            answer["WWW-Authenticate"] = _CHALLENGE
        return answer  # type: ignore[return-value]  # DRF takes any response of Django's


class CaCertsView(EstView):
    """`GET cacerts`: whom a device trusts and what it sends after its own certificate. Needs no credential."""

    def get(self, request: Request, label: str = "") -> HttpResponse:
        """Roots, and the issuing CA that signs now; the same for every type of device."""
        _check_label(label)
        return _certificates(_trusted(timezone.now()), "application/pkcs7-mime")


class CsrAttrsView(EstView):
    """`GET csrattrs`: nothing is asked of a request, as the profile alone decides what a certificate says."""

    def get(self, request: Request, label: str = "") -> HttpResponse:
        """No content."""
        _check_label(label)
        return HttpResponse(status=204)


class EnrollView(EstView):
    """`POST simpleenroll` and `POST simplereenroll`: a request becomes a certificate, which comes alone.

    202 with Retry-After while somebody must approve it; refusals have the status codes of `ProvisionView`.
    """

    def post(self, request: Request, label: str = "") -> HttpResponse:
        """Enrol or renew."""
        now = timezone.now()
        caller = callers.identify(request, now, recovering=True)
        token = _token(request.headers.get("Authorization", ""))
        asked = admission.Application(_csr(request), token, device_type=label, hardware_id=None)
        result = admission.admit(caller, asked, now)
        if isinstance(result, Waiting):
            headers = {"Retry-After": str(result.retry_seconds)}
            return HttpResponse(f"{admission.WAITS}\n", status=202, content_type="text/plain", headers=headers)
        leaf = x509.load_pem_x509_certificate(result.certificate.pem.encode())
        return _certificates([leaf], "application/pkcs7-mime; smime-type=certs-only")


def _token(authorization: str) -> str:
    """The claim in the password of Basic; the user name is the claim's id, or empty. Nothing without Basic."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        user, _, token = base64.b64decode(value.strip(), validate=True).decode().partition(":")
    except ValueError:
        return ""
    if not token.startswith(user):
        text = "The user name is the claim's id or empty, the password its token."
        raise ProvisioningError(text, "claim_unknown", 401)
    return token


def _csr(request: Request) -> bytes:
    length = request.META.get("CONTENT_LENGTH") or "0"
    if int(length) <= MAX_BODY and len(body := request.body) <= MAX_BODY:
        return est_wire.request(body)
    raise CertificateError(f"At most {MAX_BODY} bytes are read.", "csr_refused", 413)


def _check_label(label: str) -> None:
    """Where no claim judges the label: better an error now than when the device enrols."""
    if label and not DeviceType.objects.filter(slug=label).exists():
        raise ProvisioningError(f"There is no device type {label!r}.", "unknown_label", 404)


def _trusted(now: datetime) -> list[x509.Certificate]:
    """Roots, and the issuing CA that signs now."""
    rows = Authority.objects.filter(not_after__gt=now).order_by("pk")
    chosen = rows.filter(Q(kind=Authority.Kind.ROOT) | Q(kind=Authority.Kind.ISSUING, active=True))
    return [x509.load_pem_x509_certificate(row.certificate.encode()) for row in chosen]


def _certificates(certificates: list[x509.Certificate], kind: str) -> HttpResponse:
    headers = {"Content-Transfer-Encoding": "base64"}
    return HttpResponse(est_wire.certs_only(certificates), content_type=kind, headers=headers)
