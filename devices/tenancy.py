"""Who sees which rows. One rule, used by admin, API, sockets, exports; it fails closed.

Every model of ours says how it hangs on a tenant: `tenant_path = "device__tenant"` (a lookup from the model to
Tenant, `"pk"` on Tenant itself) or `tenant_path = COMPANY` for what only the company's staff see. A system check
refuses a model that says nothing, and a model whose manager cannot be scoped. `tenant_path = PERSONAL` is for what
belongs to a person, by its field `user`: nobody else sees it, staff neither.
"""

from typing import Any, Final, Self, TypeVar

from django.apps import apps
from django.contrib.auth import get_user_model
from django.core import checks
from django.core.exceptions import FieldDoesNotExist, FieldError
from django.db import models
from django.db.models.sql import Query

ROOMS = ("devices", "firmware", "telemetry", "operations")
COMPANY: Final = "company"
PERSONAL: Final = "personal"

_Model_co = TypeVar("_Model_co", bound=models.Model, covariant=True)


def sees_all(user: Any) -> bool:
    """Active staff, unless they brought a credential that is good in one tenant only."""
    return bool(getattr(user, "is_active", False) and user.is_staff and getattr(user, "confined_to", None) is None)


class ScopedQuerySet(models.QuerySet[_Model_co]):
    """Base of every queryset of ours."""

    def visible_to(self, user: Any) -> Self:
        """Rows this user may see: all for active staff, their tenants' for customers, none for anybody else.

        A credential that is good in one tenant only has put its id into `user.confined_to` (people/access.py).
        """
        if not getattr(user, "is_active", False) or not user.pk:
            return self.none()
        path = getattr(self.model, "tenant_path", COMPANY)
        if path == PERSONAL:
            return self.filter(user_id=user.pk)
        if sees_all(user):
            return self.all()
        if path == COMPANY:
            return self.none()
        confined_to = getattr(user, "confined_to", None)
        memberships = apps.get_model("devices", "Membership").objects.filter(user_id=user.pk)
        if confined_to is not None:
            memberships = memberships.filter(tenant_id=confined_to)
        rows = self.model._base_manager.filter(**{f"{path}__in": memberships.values("tenant_id")})
        # A subquery instead of a join: a path through many rows must not show a row twice.
        return (
            self.filter(pk__in=rows.values("pk"))
            if "__" in path
            else self.filter(**{f"{path}__in": memberships.values("tenant_id")})
        )


@checks.register(checks.Tags.models)
def check_tenant_paths(**_: Any) -> list[checks.CheckMessage]:
    """Every model of our rooms declares a path that really ends at Tenant, and can be scoped."""
    tenant = apps.get_model("devices", "Tenant")
    return [
        error
        for room in ROOMS
        if apps.is_installed(f"{room}.apps.{room.title()}Config") or apps.is_installed(room)
        for model in apps.get_app_config(room).get_models()
        for error in _errors(model, tenant)
    ]


def _errors(model: type[models.Model], tenant: type[models.Model]) -> list[checks.CheckMessage]:
    path = model.__dict__.get("tenant_path")
    if path is None:
        return [checks.Error("does not declare tenant_path: who may see its rows?", obj=model, id="tenancy.E001")]
    if not isinstance(model._default_manager.all(), ScopedQuerySet):
        return [checks.Error("its default manager has no visible_to().", obj=model, id="tenancy.E002")]
    if path == PERSONAL:
        return (
            []
            if _is_persons(model)
            else [
                checks.Error("is personal, but has no field `user` that leads to a user.", obj=model, id="tenancy.E004")
            ]
        )
    if path != COMPANY and _target(model, path) is not tenant:
        return [checks.Error(f"tenant_path {path!r} does not lead to Tenant.", obj=model, id="tenancy.E003")]
    return []


def _is_persons(model: type[models.Model]) -> bool:
    try:
        return bool(model._meta.get_field("user").related_model is get_user_model())
    except FieldDoesNotExist:
        return False


def _target(model: type[models.Model], path: str) -> type[models.Model] | None:
    try:
        _, field, _, rest = Query(model).names_to_path(path.split("__"), model._meta)
    except FieldError:
        return None
    if rest:
        return None
    if not field.is_relation:
        return field.model if field.primary_key else None
    found: type[models.Model] | None = field.related_model
    return found
