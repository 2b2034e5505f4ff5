"""Tenants and their teams, for apps: who is in, in which role, and who is invited."""

from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.http.response import HttpResponseBase
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from devices.api.base import UNCHANGED, View, documents, require, single, told, visible
from devices.models import Invitation, Membership, Tenant
from devices.openapi import ETAG, IF_MATCH_NEEDED, IF_NONE_MATCH, LOCATION, PAGES, Refused, Tags, answer, body, paged
from devices.people import access, invitations, team
from devices.people.scopes import DEVICES_READ, TEAM_MANAGE
from devices.repeating import KEY, once
from devices.rest import Strict, check_match, page, require_match


class TenantDocument(serializers.Serializer[Any]):
    """An organisation that has devices here."""

    slug = serializers.CharField()
    url = serializers.URLField()
    name = serializers.CharField()
    created_at = serializers.DateTimeField()


class MemberDocument(serializers.Serializer[Any]):
    """Somebody in a team."""

    id = serializers.IntegerField(help_text="Of the membership.")
    url = serializers.URLField()
    username = serializers.CharField()
    name = serializers.CharField(allow_blank=True)
    email = serializers.CharField(allow_blank=True)
    role = serializers.ChoiceField(choices=Membership.Role.choices)
    since = serializers.DateTimeField()


class RoleRequest(Strict):
    """What somebody is to be."""

    role = serializers.ChoiceField(choices=Membership.Role.choices)


class InvitationDocument(serializers.Serializer[Any]):
    """An open invitation."""

    id = serializers.IntegerField()
    url = serializers.URLField()
    email = serializers.CharField()
    role = serializers.ChoiceField(choices=Membership.Role.choices)
    invited_by = serializers.CharField(allow_blank=True)
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()


class NewInvitationDocument(InvitationDocument):
    """An invitation that was made just now."""

    link = serializers.URLField(help_text="Lets one person join. Told once; it is mailed to them, too.")


class InvitationRequest(Strict):
    """Whom to invite."""

    email = serializers.EmailField(max_length=254)
    role = serializers.ChoiceField(choices=Membership.Role.choices)


_TENANT = {
    "slug": "acme",
    "url": "https://portal.example.com/api/v1/tenants/acme",
    "name": "Acme",
    "created_at": "2026-01-05T10:00:00Z",
}
_MEMBER = {
    "id": 12,
    "url": "https://portal.example.com/api/v1/tenants/acme/members/12",
    "username": "jo",
    "name": "Jo Meyer",
    "email": "jo@example.com",
    "role": "viewer",
    "since": "2026-02-01T09:00:00Z",
}
_INVITATION = {
    "id": 31,
    "url": "https://portal.example.com/api/v1/tenants/acme/invitations/31",
    "email": "sam@example.com",
    "role": "operator",
    "invited_by": "jo",
    "created_at": "2026-11-21T09:00:00Z",
    "expires_at": "2026-11-28T09:00:00Z",
}


def _tenant(row: Tenant, request: Request) -> dict[str, Any]:
    url = reverse("api-tenant", [row.slug], request=request)
    return {"slug": row.slug, "url": url, "name": row.name, "created_at": row.created_at}


def _member(row: Membership, request: Request) -> dict[str, Any]:
    return {
        "id": row.pk,
        "url": reverse("api-member", [row.tenant.slug, row.pk], request=request),
        "username": row.user.get_username(),
        "name": row.user.get_full_name(),
        "email": row.user.email,
        "role": row.role,
        "since": row.created_at,
    }


def _invitation(row: Invitation, request: Request) -> dict[str, Any]:
    return {
        "id": row.pk,
        "url": reverse("api-invitation", [row.tenant.slug, row.pk], request=request),
        "email": row.email,
        "role": row.role,
        "invited_by": row.invited_by.get_username() if row.invited_by else "",
        "created_at": row.created_at,
        "expires_at": row.expires_at,
    }


class TenantsView(View):
    """`GET /api/v1/tenants`: those that I am in."""

    scopes = {"GET": DEVICES_READ}

    @extend_schema(
        operation_id="list_tenants",
        summary="List tenants",
        tags=[Tags.TEAM],
        parameters=[*PAGES],
        responses={200: answer(paged(TenantDocument), {"next": None, "previous": None, "results": [_TENANT]})},
    )
    def get(self, request: Request) -> Response:
        """A page of them, by name."""
        found, pages = page(request, Tenant.objects.visible_to(request.user), ("name", "id"), self)
        return pages.get_paginated_response(documents(TenantDocument, [_tenant(each, request) for each in found]))


class TenantView(View):
    """`GET /api/v1/tenants/<tenant>`: one of them."""

    scopes = {"GET": DEVICES_READ}

    @extend_schema(
        operation_id="get_tenant",
        summary="One tenant",
        tags=[Tags.TEAM],
        parameters=[IF_NONE_MATCH, ETAG],
        responses={200: answer(TenantDocument, _TENANT), 304: UNCHANGED},
    )
    def get(self, request: Request, tenant: str) -> HttpResponseBase:
        """Show it."""
        return single(request, _tenant(visible(Tenant.objects.all(), request, slug=tenant), request))


class TeamView(View):
    """A view of one tenant's team. For programs all of it is `team:manage`: addresses of people are in it."""

    scopes = dict.fromkeys(("GET", "POST", "PATCH", "DELETE"), TEAM_MANAGE)
    read_by_all = True
    """May members of any role look at it?"""

    def whose(self, request: Request, slug: str, permission: str = "") -> Tenant:
        """The tenant, if they may. `permission`: what it asks of staff; members need the role for it."""
        row: Tenant = visible(Tenant.objects.all(), request, slug=slug)
        if permission:
            require(request, TEAM_MANAGE, row.pk, permission)
        return row


class MembersView(TeamView):
    """`GET /api/v1/tenants/<tenant>/members`: who is in, for everybody who is."""

    @extend_schema(
        operation_id="list_members",
        summary="List a tenant's members",
        tags=[Tags.TEAM],
        parameters=[*PAGES],
        responses={200: answer(paged(MemberDocument), {"next": None, "previous": None, "results": [_MEMBER]})},
    )
    def get(self, request: Request, tenant: str) -> Response:
        """A page of them, who came first, first."""
        found, pages = page(request, _members(self.whose(request, tenant)), "id", self)
        return pages.get_paginated_response(documents(MemberDocument, [_member(each, request) for each in found]))


class MemberView(TeamView):
    """`/api/v1/tenants/<tenant>/members/<member>`: one of them."""

    @extend_schema(
        operation_id="get_member",
        summary="One member",
        tags=[Tags.TEAM],
        parameters=[IF_NONE_MATCH, ETAG],
        responses={200: answer(MemberDocument, _MEMBER), 304: UNCHANGED},
    )
    def get(self, request: Request, tenant: str, member: int) -> HttpResponseBase:
        """Show them."""
        row = visible(_members(self.whose(request, tenant)), request, pk=member)
        return single(request, _member(row, request))

    @extend_schema(
        operation_id="change_role",
        summary="Give a member another role",
        tags=[Tags.TEAM],
        parameters=[IF_MATCH_NEEDED, ETAG],
        request=body(RoleRequest, {"role": "operator"}),
        responses={
            200: answer(MemberDocument, _MEMBER | {"role": "operator"}),
            409: Refused("last_owner", "not_a_member"),
            412: Refused("precondition_failed"),
            428: Refused("precondition_required"),
        },
    )
    def patch(self, request: Request, tenant: str, member: int) -> HttpResponseBase:
        """For owners. A team keeps an owner. `If-Match` must name the ETag of what you looked at."""
        whose = self.whose(request, tenant, "devices.change_membership")
        with transaction.atomic():
            access.lock_team(whose.pk)  # as all who change a team do
            row = visible(_members(whose), request, pk=member)
            require_match(request)
            said = told(RoleRequest, request)
            check_match(request, single(request, _member(row, request)).headers["ETag"])
            team.change_role(row, said["role"], request.user, timezone.now())
        return single(request, _member(row, request))

    @extend_schema(
        operation_id="remove_member",
        summary="Remove a member",
        tags=[Tags.TEAM],
        request=None,
        responses={204: None, 409: Refused("last_owner", "not_a_member")},
    )
    def delete(self, request: Request, tenant: str, member: int) -> Response:
        """For owners, and for oneself. Their API tokens of this tenant end with it."""
        whose = self.whose(request, tenant)
        row = visible(_members(whose), request, pk=member)
        if row.user_id != request.user.pk:
            require(request, TEAM_MANAGE, whose.pk, "devices.delete_membership")
        team.remove(row, request.user, timezone.now())
        return Response(status=204)


class InvitationsView(TeamView):
    """`/api/v1/tenants/<tenant>/invitations`: who is invited and has not come yet. For owners."""

    read_by_all = False

    @extend_schema(
        operation_id="list_invitations",
        summary="List open invitations",
        tags=[Tags.TEAM],
        parameters=[*PAGES],
        responses={200: answer(paged(InvitationDocument), {"next": None, "previous": None, "results": [_INVITATION]})},
    )
    def get(self, request: Request, tenant: str) -> Response:
        """A page of them, newest first."""
        whose = self.whose(request, tenant, "devices.view_invitation")
        found, pages = page(request, _open(whose), "-id", self)
        rows = [_invitation(each, request) for each in found]
        return pages.get_paginated_response(documents(InvitationDocument, rows))

    @extend_schema(
        operation_id="invite",
        summary="Invite somebody",
        tags=[Tags.TEAM],
        parameters=[KEY, LOCATION],
        request=body(InvitationRequest, {"email": "sam@example.com", "role": "operator"}),
        responses={
            201: answer(NewInvitationDocument, _INVITATION | {"link": "https://portal.example.com/invitation/x7Kq/"}),
            409: Refused("already_member", "request_in_progress"),
            422: Refused("idempotency_key_reused"),
            429: Refused("throttled", "invitation_limit"),
        },
    )
    @once
    def post(self, request: Request, tenant: str) -> Response:
        """The link is mailed, and told once. Inviting the same address again ends the earlier link."""
        whose = self.whose(request, tenant, "devices.add_invitation")
        said = told(InvitationRequest, request)
        made, secret = invitations.invite(whose, said["email"], said["role"], request.user, timezone.now())
        link = reverse("invitation-link", [secret], request=request)
        document = _invitation(made, request) | {"link": link}
        transaction.on_commit(lambda: invitations.mail(made, link), robust=True)
        return Response(document, status=201, headers={"Location": document["url"]})


class InvitationView(TeamView):
    """`/api/v1/tenants/<tenant>/invitations/<invitation>`: one of them."""

    read_by_all = False

    @extend_schema(
        operation_id="get_invitation",
        summary="One open invitation",
        tags=[Tags.TEAM],
        parameters=[IF_NONE_MATCH, ETAG],
        responses={200: answer(InvitationDocument, _INVITATION), 304: UNCHANGED},
    )
    def get(self, request: Request, tenant: str, invitation: int) -> HttpResponseBase:
        """Show it; never its link."""
        whose = self.whose(request, tenant, "devices.view_invitation")
        return single(request, _invitation(visible(_open(whose), request, pk=invitation), request))

    @extend_schema(
        operation_id="revoke_invitation",
        summary="Revoke an invitation",
        tags=[Tags.TEAM],
        request=None,
        responses={204: None},
    )
    def delete(self, request: Request, tenant: str, invitation: int) -> Response:
        """Its link is no longer good. However often: 204."""
        whose = self.whose(request, tenant, "devices.change_invitation")
        row = visible(Invitation.objects.filter(tenant=whose), request, pk=invitation)
        invitations.revoke(row, request.user, timezone.now())
        return Response(status=204)


def _members(tenant: Tenant) -> QuerySet[Membership]:
    return Membership.objects.filter(tenant=tenant).select_related("tenant", "user")


def _open(tenant: Tenant) -> QuerySet[Invitation]:
    rows = Invitation.objects.filter(tenant=tenant, accepted_at=None, revoked_at=None)
    return rows.filter(expires_at__gt=timezone.now()).select_related("tenant", "invited_by")
