"""The HTTP door of this room for apps and devices."""

from typing import Any

from django.conf import settings
from django.utils import timezone
from redis import RedisError
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import ScopedRateThrottle
from rest_framework.views import APIView

from devices import claims, enrollment
from devices.approvals import Waiting
from devices.errors import ProvisioningError


class Throttle(ScopedRateThrottle):
    """DRF's, which lets through while the cache is away: a broken cache must not keep new devices out."""

    def allow_request(self, request: Request, view: APIView) -> bool:
        """Within the rate?"""
        try:
            return super().allow_request(request, view)
        except RedisError:
            return True


class ProvisionRequest(serializers.Serializer[Any]):
    """What a device sends to enrol."""

    device_type = serializers.CharField(max_length=63)
    hardware_id = serializers.CharField(max_length=enrollment.MAX_HARDWARE_ID)
    csr = serializers.CharField(max_length=16 * 1024, trim_whitespace=False)


class ProvisionView(APIView):
    """`POST /api/v1/devices/provision`: a claim (`Authorization: Bearer fpc_…`) and a CSR become an identity.

    201 for a new device, 200 when the same device asks again with the same key, 202 with Retry-After while somebody
    must approve it. Refusals are problem details whose
    `error_code` is one of claim_unknown (401), claim_expired, claim_revoked, claim_used_up, claim_other_type,
    claim_other_hardware, rejected (403), hardware_id_taken, key_reused, device_not_active (409), csr_refused (400),
    too_many_waiting (429), try_again (503).
    """

    authentication_classes = ()
    permission_classes = (AllowAny,)  # the claim is the credential, judged by the use case
    throttle_classes = (Throttle,)
    throttle_scope = "provision"

    def post(self, request: Request) -> Response:
        """Enrol a device."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise ProvisioningError("Send a claim: Authorization: Bearer <claim>.", "claim_missing", 401)
        asked = ProvisionRequest(data=request.data)
        asked.is_valid(raise_exception=True)
        told = asked.validated_data
        claim = claims.of_token(token.strip())
        result = enrollment.enroll(
            claim, told["device_type"], told["hardware_id"], told["csr"].encode(), timezone.now()
        )
        if isinstance(result, Waiting):
            waits = {"state": "waiting", "detail": "Somebody must approve this device. Ask again."}
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
