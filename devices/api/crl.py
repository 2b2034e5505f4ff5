"""Revocation lists, for everybody."""

import hashlib

from cryptography import x509
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import get_conditional_response
from django.utils.http import http_date, parse_http_date, quote_etag
from rest_framework.permissions import AllowAny
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from devices import broker


class CrlView(APIView):
    """`GET /pki/crl/ca-<n>.crl`: the revocation list of an issuing CA (RFC 5280), for everybody, as DER."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    def perform_content_negotiation(self, request: Request, force: bool = False) -> tuple[BaseRenderer, str]:
        """Nothing is negotiated: a client may ask for the type it gets, which DRF knows nothing of."""
        return JSONRenderer(), JSONRenderer.media_type

    def get(self, request: Request, authority: str) -> HttpResponseBase:
        """The latest list, or 304."""
        der = broker.crl_der(int(authority))
        headers = {
            "Cache-Control": "public, max-age=60",
            "ETag": quote_etag(hashlib.sha256(der).hexdigest()),
            "Last-Modified": http_date(x509.load_der_x509_crl(der).last_update_utc.timestamp()),
        }
        full = HttpResponse(der, content_type="application/pkix-crl", headers=headers)
        when = parse_http_date(headers["Last-Modified"])
        return get_conditional_response(request._request, headers["ETag"], when, full) or full
