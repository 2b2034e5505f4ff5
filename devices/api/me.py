"""Who asks: the person, what they may do where, and what they brought along to say so."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from devices.api.base import Known, View
from devices.models import Membership, Tenant
from devices.openapi import Tags, answer
from devices.people import scopes
from devices.people.access import Credential


class TenantName(serializers.Serializer[Any]):
    """A tenant by its names."""

    slug = serializers.CharField()
    name = serializers.CharField()


class MembershipDocument(serializers.Serializer[Any]):
    """What somebody is in a tenant."""

    tenant = TenantName()
    role = serializers.ChoiceField(choices=Membership.Role.choices)
    scopes = serializers.ListField(child=serializers.CharField(), help_text="What the role lets them do there.")


class CredentialDocument(serializers.Serializer[Any]):
    """What this request was made with."""

    kind = serializers.ChoiceField(choices=["session", "token", "app"])
    name = serializers.CharField(help_text="First characters of the token, or id of the app.", allow_blank=True)
    scopes = serializers.ListField(child=serializers.CharField(), help_text="A session has all.")
    tenant = serializers.CharField(allow_null=True, help_text="Slug of the only tenant that it is good in.")


class MeDocument(serializers.Serializer[Any]):
    """A person, and what they may do."""

    username = serializers.CharField()
    name = serializers.CharField(allow_blank=True)
    email = serializers.CharField(allow_blank=True)
    is_staff = serializers.BooleanField(help_text="Of the company that runs this portal.")
    memberships = MembershipDocument(many=True)
    credential = CredentialDocument()


_EXAMPLE = {
    "username": "jo",
    "name": "Jo Meyer",
    "email": "jo@example.com",
    "is_staff": False,
    "memberships": [
        {"tenant": {"slug": "acme", "name": "Acme"}, "role": "viewer", "scopes": sorted(scopes.ROLE_SCOPES["viewer"])}
    ],
    "credential": {"kind": "token", "name": "fpa_x7Kq", "scopes": ["devices:read"], "tenant": "acme"},
}


class MeView(View):
    """`GET /api/v1/me`."""

    permission_classes = (Known,)

    @extend_schema(
        operation_id="get_me",
        summary="Who am I?",
        tags=[Tags.API],
        responses={200: answer(MeDocument, _EXAMPLE)},
    )
    def get(self, request: Request) -> Response:
        """Yourself, your roles, and the credential that you used. Any credential may ask."""
        user: Any = request.user
        mine = Membership.objects.visible_to(user).filter(user_id=user.pk).select_related("tenant")
        body = {
            "username": user.get_username(),
            "name": user.get_full_name(),
            "email": user.email,
            "is_staff": user.is_staff,
            "memberships": [
                {
                    "tenant": {"slug": each.tenant.slug, "name": each.tenant.name},
                    "role": each.role,
                    "scopes": sorted(scopes.ROLE_SCOPES.get(each.role, ())),
                }
                for each in mine.order_by("tenant__name", "tenant_id")
            ],
            "credential": _credential(request),
        }
        return Response(MeDocument(body).data)


def _credential(request: Request) -> dict[str, Any]:
    auth = request.auth
    if not isinstance(auth, Credential):
        return {"kind": "session", "name": "", "scopes": sorted(scopes.SCOPES), "tenant": None}
    slug = Tenant.objects.filter(pk=auth.tenant_id).values_list("slug", flat=True).first() if auth.tenant_id else None
    return {"kind": auth.kind, "name": auth.name, "scopes": sorted(auth.scopes), "tenant": slug}
