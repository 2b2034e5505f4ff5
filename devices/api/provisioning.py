"""Enrolment: a device becomes known by a claim, or gets its next certificate."""

from typing import Any

from django.conf import settings
from django.utils import timezone
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from devices import admission, callers, described
from devices.approvals import Waiting
from devices.models.fields import MAX_HARDWARE_ID
from devices.throttles import Throttle


class ProvisionRequest(serializers.Serializer[Any]):
    """What a device sends to enrol."""

    device_type = serializers.CharField(max_length=63, required=False, default="")
    hardware_id = serializers.CharField(max_length=MAX_HARDWARE_ID, required=False, default="")
    csr = serializers.CharField(max_length=16 * 1024, trim_whitespace=False)


class ProvisionView(APIView):
    """`POST /api/v1/devices/provision`: a claim and a CSR become an identity.

    The claim is a token (`Authorization: Bearer fpc_…`), or the client certificate: a claim certificate, or the one
    that a device was born with. A device's own certificate, even one that expired not too long ago, gets the next.
    `device_type` may be left out where the claim decides it, `hardware_id` where the certificate does.

    201 for a new device, 200 when the same device asks again with the same key or renews, 202 with Retry-After while
    somebody must approve it. Refusals are problem details whose `error_code` is one of claim_missing, claim_unknown,
    certificate_unknown, certificate_revoked, certificate_expired, certificate_not_yet_valid (401), claim_expired,
    claim_revoked, claim_used_up, claim_other_type, claim_other_hardware, other_device_type, other_hardware_id,
    device_not_active, no_certificate, rejected (403), hardware_id_taken, key_reused, key_revoked, claim_ambiguous,
    approval_used, device_not_active (409), csr_refused, hardware_id, two_credentials, bad_certificate, forged_header
    (400), too_many_waiting, too_many_certificates (429), try_again, authority_expired (503).
    """

    authentication_classes = ()
    permission_classes = (AllowAny,)  # the claim is the credential, judged by the use case
    throttle_classes = (Throttle,)
    throttle_scope = "provision"

    @described.provision(ProvisionRequest)
    def post(self, request: Request) -> Response:
        """Enrol a device."""
        now = timezone.now()
        caller = callers.identify(request, now, recovering=True)
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        token = token.strip() if scheme.lower() == "bearer" else ""
        admission.check_credential(caller, token)
        asked = ProvisionRequest(data=request.data)
        asked.is_valid(raise_exception=True)
        told = asked.validated_data
        application = admission.Application(told["csr"].encode(), token, told["device_type"], told["hardware_id"])
        result = admission.admit(caller, application, now)
        if isinstance(result, Waiting):
            waits = {"state": "waiting", "detail": admission.WAITS}
            return Response(waits, status=202, headers={"Retry-After": str(result.retry_seconds)})
        body = {
            "device_id": result.device.device_id,
            "tenant": result.device.tenant.slug,
            "device_type": result.device.device_type.slug,
            "certificate": result.certificate.pem,
            "chain": result.chain,
            "endpoints": {
                "mqtt": {"host": settings.DEVICE_MQTT_HOST, "port": settings.DEVICE_MQTT_PORT},
                "https": settings.DEVICE_HTTPS_URL,
            },
        }
        return Response(body, status=201 if result.created else 200)
