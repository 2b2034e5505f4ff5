"""The project itself as a Django app: its commands, its admin site, its roles."""

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig
from django.db.models.signals import post_migrate


class FleetportalConfig(AppConfig):
    """Wiring only."""

    name = "fleetportal"

    def ready(self) -> None:
        """Roles follow the models of all rooms, so they are applied anew with every app that was migrated."""
        from fleetportal import (
            celery,  # noqa: F401 (doors of every process enqueue to this app)
            roles,
        )

        post_migrate.connect(roles.apply, dispatch_uid="fleetportal.roles")


class FleetportalAdminConfig(AdminConfig):
    """The staff admin: stock Django with a dashboard of tiles as its index."""

    default_site = "fleetportal.admin.StaffSite"
