"""Staff roles as groups with least privilege; applied after every migrate, so a new model finds its readers at once."""

from typing import Any

from django.apps import AppConfig
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Group, Permission
from django.db.models import Q

ROLES: dict[str, dict[str, list[str]]] = {
    "Fleet operator": {
        "add": ["device", "site", "group", "maintenancewindow", "claim", "devicetoken", "schema", "metric"],
        "change": [
            "device",
            "site",
            "group",
            "maintenancewindow",
            "tenant",
            "devicetype",
            "finding",
            "claim",
            "devicetoken",
            "approval",
            "renewal",
        ],
        "delete": ["maintenancewindow"],
    },
    "Firmware author": {},
    "Firmware approver": {},
    "Security officer": {
        "add": ["claim", "devicetoken", "suppression"],
        "change": ["claim", "devicetoken", "finding", "certificate", "suppression", "approval", "renewal"],
    },
    "Support": {},
}
"""Role → verb → models. Every role may view every model of the rooms."""
_ROOMS = ("devices", "firmware", "telemetry", "operations")


def apply(sender: AppConfig | None = None, **_: Any) -> None:
    """Give each role exactly its permissions; runs on post_migrate, once for each app."""
    if sender is not None:
        create_permissions(sender, verbosity=0)  # Django's own receiver, which makes them, runs after this one
    ours = Permission.objects.filter(content_type__app_label__in=_ROOMS)
    for role, verbs in ROLES.items():
        wanted = Q(codename__startswith="view_")
        for verb, models in verbs.items():
            wanted |= Q(codename__in=[f"{verb}_{model}" for model in models])
        group, _made = Group.objects.get_or_create(name=role)
        group.permissions.set(ours.filter(wanted))
