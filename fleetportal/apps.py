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
        self._accounts()

    def _accounts(self) -> None:
        from allauth.account.signals import email_changed
        from allauth.mfa.models import Authenticator
        from allauth.mfa.signals import authenticator_added, authenticator_used
        from django.contrib.auth import get_user_model
        from django.contrib.auth.signals import user_logged_in
        from django.db.models.signals import post_delete, post_save, pre_save

        from devices.people import second_factor
        from fleetportal import roles
        from fleetportal.accounts import (
            checks,  # noqa: F401 (registers itself)
            receivers,
        )

        second_factor.check_words(roles.ROLES)
        user_logged_in.connect(receivers.signed_in, dispatch_uid="accounts.signed_in")
        authenticator_used.connect(receivers.second_factor_shown, dispatch_uid="accounts.shown")
        authenticator_added.connect(receivers.second_factor_added, dispatch_uid="accounts.added")
        pre_save.connect(receivers.address_kept, get_user_model(), dispatch_uid="accounts.address")
        email_changed.connect(receivers.email_changed, dispatch_uid="accounts.email")
        post_save.connect(receivers.second_factor_kept, Authenticator, dispatch_uid="accounts.kept")
        post_delete.connect(receivers.second_factor_removed, Authenticator, dispatch_uid="accounts.removed")


class FleetportalAdminConfig(AdminConfig):
    """The staff admin: stock Django with a dashboard of tiles as its index."""

    default_site = "fleetportal.admin.StaffSite"
