"""The team of a tenant: who is in it, who is invited, and what owners change."""

from typing import Any

from allauth.mfa.models import Authenticator
from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Exists, OuterRef, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from devices.errors import DomainError
from devices.models import Invitation, Membership, Tenant
from devices.people import access, invitations, second_factor
from devices.people import team as people
from devices.people.scopes import TEAM_MANAGE
from devices.tenancy import sees_all

SHOWN = 200
"""Members and invitations of a tenant on its page."""
ROLES = [
    ("viewer", "Viewer", "sees devices, readings and firmware"),
    ("operator", "Operator", "adds, names and places devices, too"),
    ("owner", "Owner", "manages the team, too"),
]


class InviteForm(forms.Form):
    """Whom, and what as."""

    email = forms.EmailField(label="E-mail address", max_length=254)
    role = forms.ChoiceField(choices=[(value, label) for value, label, _ in ROLES], initial="viewer")


@never_cache
@login_required
@require_safe
def teams(request: HttpRequest) -> HttpResponse:
    """The team one is in; a choice for whoever is in several, or is staff."""
    mine = Tenant.objects.visible_to(request.user).filter(memberships__user__username=request.user.get_username())
    rows = list(mine[:SHOWN])
    if len(rows) == 1:
        return redirect("team-of", slug=rows[0].slug)
    return render(request, "customers/teams.html", {"tenants": rows})


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def team(request: HttpRequest, slug: str) -> HttpResponse:
    """Members and invitations of a tenant; a POST invites somebody, and shows the link this once."""
    tenant = get_object_or_404(Tenant.objects.visible_to(request.user), slug=slug)
    form, link, mailed = InviteForm(), "", False
    if request.method == "POST":
        _require_manager(request.user, tenant.pk, "devices.add_invitation")
        form = InviteForm(request.POST)
        if form.is_valid():
            told = form.cleaned_data
            try:
                row, token = invitations.invite(tenant, told["email"], told["role"], request.user, timezone.now())
            except invitations.InvitationError as error:
                form.add_error("email", error.detail)
            else:
                link = request.build_absolute_uri(reverse("invitation-link", args=[token]))
                mailed = invitations.mail(row, link)
                form = InviteForm()
    factors = Authenticator.objects.filter(user_id=OuterRef("user_id"), type__in=second_factor.TYPES)
    members = Membership.objects.visible_to(request.user).filter(tenant=tenant).select_related("user")
    manages = _manages(request.user, tenant.pk, "devices.change_membership")
    people_here = members.annotate(has_factor=Exists(factors)).order_by("user__username")
    context = {
        "tenant": tenant,
        "members": people_here[:SHOWN],
        **(_lacking(request.user, people_here) if manages and not tenant.mfa_required else {}),
        "invitations": _open(request.user, tenant) if manages else [],
        "manages": manages,
        "roles": ROLES,
        "form": form,
        "link": link,
        "mailed": mailed,
    }
    return render(request, "customers/team.html", context, status=400 if form.errors else 200)


@login_required
@require_POST
def member_role(request: HttpRequest, pk: int) -> HttpResponse:
    """Give somebody another role."""
    row = _member(request.user, pk)
    _require_manager(request.user, row.tenant_id, "devices.change_membership")
    return _done(
        request,
        row.tenant,
        lambda: people.change_role(row, request.POST.get("role", ""), request.user, timezone.now()),
        f"{row.user.get_username()} has another role now.",
    )


@login_required
@require_POST
def member_remove(request: HttpRequest, pk: int) -> HttpResponse:
    """Remove somebody, or leave."""
    row = _member(request.user, pk)
    leaving = row.user_id == request.user.pk
    if not leaving:
        _require_manager(request.user, row.tenant_id, "devices.delete_membership")
    words = f"You have left {row.tenant}." if leaving else f"{row.user.get_username()} is no longer in the team."
    answer = _done(request, row.tenant, lambda: people.remove(row, request.user, timezone.now()), words)
    still = Membership.objects.visible_to(request.user).filter(pk=pk).exists()
    return redirect("overview") if leaving and not still else answer


@login_required
@require_POST
def invitation_revoke(request: HttpRequest, pk: int) -> HttpResponse:
    """End an invitation."""
    row = get_object_or_404(Invitation.objects.visible_to(request.user).select_related("tenant"), pk=pk)
    _require_manager(request.user, row.tenant_id, "devices.change_invitation")
    invitations.revoke(row, request.user, timezone.now())
    messages.success(request, f"The link for {row.email} is no longer good.")
    return redirect("team-of", slug=row.tenant.slug)


@login_required
@require_POST
def second_factor_required(request: HttpRequest, slug: str) -> HttpResponse:
    """Ask a second factor of all members, or no longer."""
    tenant = get_object_or_404(Tenant.objects.visible_to(request.user), slug=slug)
    _require_manager(request.user, tenant.pk, "devices.change_tenant")
    required = request.POST.get("required") == "yes"
    people.require_mfa(tenant, required, request.user, timezone.now())
    words = "Everybody here needs a second factor now." if required else "A second factor is everybody's own choice."
    messages.success(request, words)
    return redirect("team-of", slug=slug)


def _open(user: Any, tenant: Tenant) -> list[Invitation]:
    now = timezone.now()
    rows = Invitation.objects.visible_to(user).filter(tenant=tenant, accepted_at=None, revoked_at=None)
    return list(rows.filter(expires_at__gt=now).select_related("invited_by")[:SHOWN])


def _lacking(user: Any, members: Any) -> dict[str, Any]:
    """How many of how many would be kept out, were a second factor asked of all; is the one who asks among them?"""
    none = Count("pk", filter=Q(has_factor=False))
    mine = Count("pk", filter=Q(has_factor=False, user_id=user.pk))
    found: dict[str, Any] = members.order_by().aggregate(count=Count("pk"), without=none, lacking=mine)
    return found


def _member(user: Any, pk: int) -> Membership:
    rows = Membership.objects.visible_to(user).select_related("tenant", "user")
    row: Membership = get_object_or_404(rows, pk=pk)
    return row


def _manages(user: Any, tenant_id: int, permission: str) -> bool:
    """Owners by their role, staff by their permissions."""
    if sees_all(user):
        return bool(user.has_perm(permission))
    return access.may(user, TEAM_MANAGE, tenant_id)


def _require_manager(user: Any, tenant_id: int, permission: str) -> None:
    if not _manages(user, tenant_id, permission):
        raise PermissionDenied


def _done(request: HttpRequest, tenant: Tenant, act: Any, words: str) -> HttpResponse:
    try:
        act()
    except DomainError as error:
        messages.error(request, error.detail)
    else:
        messages.success(request, words)
    return redirect("team-of", slug=tenant.slug)
