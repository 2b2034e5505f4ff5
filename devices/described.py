"""What the API's description says of the doors of devices: one decorator an operation."""

from typing import Any, Final

from drf_spectacular.utils import extend_schema
from rest_framework import serializers

from devices.openapi import Refused, Tags, answer, body, header

_PEM: Final = "-----BEGIN CERTIFICATE-----\n…\n-----END CERTIFICATE-----\n"
_RETRY: Final = header("Retry-After", "Seconds after which to ask again.", (202,))


class MqttEndpoint(serializers.Serializer[Any]):
    """The broker."""

    host = serializers.CharField()
    port = serializers.IntegerField()


class Endpoints(serializers.Serializer[Any]):
    """Where devices speak to the portal."""

    mqtt = MqttEndpoint()
    https = serializers.CharField()


class Identity(serializers.Serializer[Any]):
    """Who the device is from now on."""

    device_id = serializers.CharField()
    tenant = serializers.CharField()
    device_type = serializers.CharField()
    certificate = serializers.CharField(help_text="PEM.")
    chain = serializers.CharField(help_text="PEM, up to the root.")
    endpoints = Endpoints()


class Patience(serializers.Serializer[Any]):
    """Somebody must agree first: come again with the same key."""

    state = serializers.CharField()
    detail = serializers.CharField()


class NewToken(serializers.Serializer[Any]):
    """Keep it before you use it: it is told once."""

    token = serializers.CharField()
    expires_at = serializers.DateTimeField()


_IDENTITY: Final = {
    "device_id": "d-7kq2m4x9t3vb",
    "tenant": "north-dairies",
    "device_type": "cooler",
    "certificate": _PEM,
    "chain": _PEM,
    "endpoints": {"mqtt": {"host": "mqtt.example.com", "port": 8883}, "https": "https://devices.example.com"},
}
_CSR: Final = "-----BEGIN CERTIFICATE REQUEST-----\n…\n-----END CERTIFICATE REQUEST-----\n"


class AccessToken(serializers.Serializer[Any]):
    """A JWT for some minutes, as OAuth 2 tells it."""

    access_token = serializers.CharField()
    token_type = serializers.ChoiceField(choices=["Bearer"])
    expires_in = serializers.IntegerField(help_text="Seconds.")


def provision(asked: type[serializers.Serializer[Any]]) -> Any:
    """A claim and a key become an identity."""
    return extend_schema(
        operation_id="provision_device",
        tags=[Tags.JOINING],
        summary="Enrol a device",
        description="A claim and a certificate request become an identity. The claim is a token, or the client "
        "certificate: a claim certificate, or the one that a device was born with. A device's own certificate gets "
        "the next one. `device_type` may be left out where the claim decides it, `hardware_id` where the certificate "
        "does. Asking again with the same key gives the same device.",
        auth=[{"claim": []}, {"deviceCertificate": []}],  # type: ignore[list-item]  # as OpenAPI has it
        parameters=[_RETRY],
        request=body(asked, {"device_type": "cooler", "hardware_id": "SN-1042", "csr": _CSR}),
        responses={
            200: answer(Identity, _IDENTITY, text="It was known already, or renewed its certificate."),
            201: answer(Identity, _IDENTITY, text="A new device."),
            202: answer(Patience, {"state": "waiting", "detail": "Somebody must approve this device."}),
            400: Refused(
                "csr_refused", "invalid", "hardware_id", "two_credentials", "bad_certificate", "forged_header",
            ),
            401: Refused(
                "claim_missing", "claim_unknown", "certificate_unknown", "certificate_revoked", "certificate_expired",
                "certificate_not_yet_valid",
            ),
            403: Refused(
                "claim_expired", "claim_revoked", "claim_used_up", "claim_other_type", "claim_other_hardware",
                "other_device_type", "other_hardware_id", "device_not_active", "no_certificate", "rejected",
            ),
            409: Refused(
                "hardware_id_taken", "key_reused", "key_revoked", "claim_ambiguous", "approval_used",
                "device_not_active",
            ),
            429: Refused("throttled", "too_many_waiting", "too_many_certificates"),
            503: Refused("try_again", "authority_expired"),
        },
    )  # fmt: skip


TOKEN: Final = extend_schema(
    operation_id="rotate_device_token",
    tags=[Tags.JOINING],
    summary="Get the next token of a device",
    description="With the current one, which stays good until the new one was used, and for an overlap after that. "
    "When the answer is lost, ask again with the current one: the new token nobody has used is withdrawn.",
    request=None,
    responses={
        201: answer(NewToken, {"token": "fpd_…", "expires_at": "2027-11-21T17:00:00Z"}),
        401: Refused("credential_missing", "token_unknown", "token_expired", "token_revoked"),
        403: Refused("quarantined"),
        409: Refused("token_replaced", "token_limit", "device_not_active"),
        503: Refused("try_again"),
    },
)
ACCESS_TOKEN: Final = extend_schema(
    operation_id="get_device_access_token",
    tags=[Tags.JOINING],
    summary="Get an access token of a device",
    description="With its client certificate or device token: a JWT for ten minutes, taken as a bearer token where a "
    "device token is. It ends at once with what it came by.",
    request=None,
    responses={
        201: answer(AccessToken, {"access_token": "eyJ…", "token_type": "Bearer", "expires_in": 600}),
        401: Refused("credential_missing", "token_unknown", "token_expired", "token_revoked", "certificate_revoked"),
        403: Refused("quarantined", "device_not_active"),
        503: Refused("try_again"),
    },
)
