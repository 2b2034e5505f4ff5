"""Accounts, roles, and invitations into customers' teams, as staff see them. Only superusers change people.

What a person keeps for themselves (views, preferences) has no page: nobody else has any business with it.
"""

from typing import Any

from allauth.account.models import EmailAddress, EmailConfirmation
from django.contrib import admin, messages
from django.contrib.admin.widgets import FilteredSelectMultiple
from django.contrib.auth import admin as django_admin
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group as Role
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from django.utils.safestring import SafeString

from devices.admin.account_forms import TAKEN, NewPersonForm, PasswordForm, PersonForm
from devices.admin.base import ReadOnlyAdmin, with_reason
from devices.admin.typed_filters import related
from devices.admin.worded_filters import either, worded
from devices.admin.words import call, replaced
from devices.badges import badge, when
from devices.models import Invitation, Tenant
from devices.people import addresses, invitations

_CALLED = {"groups": "roles", "user_permissions": "rights"}


class SuperusersOnly:
    """Who may change people, what they sign in with, or what roles may do, can make themselves whatever they like.

    So a permission that somebody was given does not suffice: they see, and change nothing.
    """

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Superusers."""
        return request.user.is_superuser and super().has_add_permission(request)  # type: ignore[misc]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Superusers."""
        return request.user.is_superuser and super().has_change_permission(request, obj)  # type: ignore[misc]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Superusers."""
        return request.user.is_superuser and super().has_delete_permission(request, obj)  # type: ignore[misc]


class UserAdmin(SuperusersOnly, django_admin.UserAdmin):
    """Django's own, with our forms. People are not removed but made inactive: what they did names them."""

    form = PersonForm
    add_form = NewPersonForm
    change_password_form = PasswordForm
    change_user_password_template = "admin/auth/user/password.html"  # noqa: S105 (a file name)
    list_display = ["user_name", "address", "full_name", "state_badge", "kind", "signed_in"]
    list_filter = [
        ("is_active", either("state", "Active", "Not active")),
        ("is_staff", either("admin", "May use it", "May not")),
        ("groups", worded(admin.RelatedFieldListFilter, "role", str)),
    ]
    search_help_text = "A part of the user name, the name or the address"
    readonly_fields = ["confirmed", "signed_in", "made"]
    fieldsets = [
        (None, {"fields": ["username", "password"]}),
        ("Person", {"fields": ["first_name", "last_name", "email", "confirmed"]}),
        ("What they may do", {"fields": ["is_active", "is_staff", "is_superuser", "groups"]}),
        ("Rights besides roles", {"classes": ["collapse"], "fields": ["user_permissions"]}),
        ("Dates", {"fields": ["signed_in", "made"]}),
    ]
    add_fieldsets = [(None, {"fields": ["username", "email", "usable_password", "password1", "password2"]})]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody."""
        return False

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Another address counts at once, and the earlier one lets nobody in any more."""
        with transaction.atomic():
            super().save_model(request, obj, form, change)
            if "email" in form.changed_data:
                addresses.put(obj)

    def formfield_for_manytomany(self, db_field: Any, request: Any = None, **kwargs: Any) -> Any:
        """Called as everywhere."""
        if db_field.name in _CALLED:
            kwargs["widget"] = FilteredSelectMultiple(_CALLED[db_field.name], is_stacked=False)
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    @admin.display(description="User name", ordering="username")
    def user_name(self, row: Any) -> str:
        """What they are called in the trail."""
        return row.get_username()  # type: ignore[no-any-return]

    @admin.display(description="E-mail address", ordering="email")
    def address(self, row: Any) -> str:
        """What else they sign in with."""
        return row.email or "—"

    @admin.display(description="Last signed in", ordering="last_login")
    def signed_in(self, row: Any) -> Any:
        """Never, it may be."""
        return when(row.last_login) if row.last_login else "—"

    @admin.display(description="Made", ordering="date_joined")
    def made(self, row: Any) -> Any:
        """The account."""
        return when(row.date_joined)

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """The database has the last word on whose address it is: two who give one away at once are told alike."""
        try:
            return super().changeform_view(request, *args, **kwargs)
        except IntegrityError as error:
            if addresses.INDEX not in str(error):
                raise
            self.message_user(request, TAKEN, messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    @admin.display(description="Name")
    def full_name(self, row: Any) -> str:
        """As they are called."""
        return row.get_full_name() or "—"

    @admin.display(description="State", ordering="is_active")
    def state_badge(self, row: Any) -> SafeString:
        """May they sign in?"""
        return badge("active", "Active") if row.is_active else badge("retired", "Not active")

    @admin.display(description="May use the admin", ordering="is_staff")
    def kind(self, row: Any) -> str:
        """As what."""
        if row.is_superuser:
            return "As superuser"
        return "As staff" if row.is_staff else "No"

    @admin.display(description="Address confirmed")
    def confirmed(self, row: Any) -> SafeString:
        """Did they open the link that was mailed there?"""
        rows = EmailAddress.objects.filter(user_id=row.pk, email__iexact=row.email, verified=True)
        return badge("active", "Yes") if row.email and rows.exists() else badge("pending", "Not yet")


class RoleAdmin(SuperusersOnly, django_admin.GroupAdmin):
    """Roles of staff: Django's groups, called as everywhere else."""

    help_texts = {
        "name": "What it is called under Users.",
        "permissions": "The portal's own roles are set anew with every upgrade: what is added to them here is taken"
        " back. Make another role instead.",
    }

    def formfield_for_manytomany(self, db_field: Any, request: Any = None, **kwargs: Any) -> Any:
        """What to know comes before how to choose."""
        field = super().formfield_for_manytomany(db_field, request, **kwargs)
        if field is not None and db_field.name == "permissions":
            field.help_text = self.help_texts["permissions"]
        return field


# An address is changed on its person's page; as rows of their own, addresses were a way around all of it.
replaced(get_user_model(), Role, EmailAddress, EmailConfirmation)
call(Role, "role", "roles")
admin.site.register(get_user_model(), UserAdmin)
admin.site.register(Role, RoleAdmin)


@admin.register(Invitation)
class InvitationAdmin(ReadOnlyAdmin):
    """Never the secret of the link: that is kept nowhere."""

    list_display = ["email", "tenant", "role", "state_badge", "invited_by", "created_at", "expires_at"]
    list_filter = ["role", related("tenant", "tenant", Tenant, ("name", "slug"))]
    list_select_related = ["tenant", "invited_by"]
    search_fields = ["email", "=invited_by__username"]
    search_help_text = "A part of the address, or the whole user name of whoever invited"
    fields = [
        "email",
        "tenant",
        "role",
        "state_badge",
        ("invited_by", "created_at", "expires_at"),
        ("accepted_by", "accepted_at"),
        "revoked_at",
    ]
    readonly_fields = ["state_badge"]
    actions = ["revoke"]

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """The right to change invitations is the right to end them."""
        return request.user.has_perm("devices.change_invitation")

    @admin.action(description="Revoke…", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[Invitation]) -> HttpResponse | None:
        """Nobody joins by them any more; who has joined stays."""
        now = timezone.now()
        rows = queryset.select_related("tenant")
        return with_reason(
            self, request, rows, "Revoke", lambda row, reason: invitations.revoke(row, request.user, now, reason)
        )

    @admin.display(description="State")
    def state_badge(self, row: Invitation) -> SafeString:
        """Open, or how it ended."""
        if row.accepted_at:
            return badge("done", "Accepted")
        if row.revoked_at:
            return badge("revoked", "Revoked")
        return badge("pending", "Open") if row.is_open(timezone.now()) else badge("expired", "Expired")
