"""How the admin's pages are grouped: by what staff do, not by which package keeps the rows."""

from typing import Any

from django.urls import reverse

ROOMS: dict[str, tuple[str, list[str]]] = {
    "devices": (
        "Devices",
        [
            *("devices.device", "devices.finding", "devices.suppression", "devices.event", "devices.group"),
            *("devices.site", "devices.tenant", "devices.devicetype"),
        ],
    ),
    "identity": (
        "Identity",
        [
            *("devices.approval", "devices.claim", "devices.claimcode", "devices.devicetoken", "devices.certificate"),
            *("devices.renewal", "devices.authority"),
        ],
    ),
    "firmware": (
        "Firmware",
        [
            *("firmware.campaign", "firmware.update", "firmware.release", "firmware.ring", "firmware.hold"),
            *("firmware.stop", "firmware.trustedkey", "firmware.uploadtoken"),
        ],
    ),
    "telemetry": (
        "Telemetry",
        [
            *("telemetry.latest", "telemetry.schema", "telemetry.deadletter", "telemetry.replay", "telemetry.export"),
            *("telemetry.retention", "telemetry.archivedday"),
        ],
    ),
    "people": (
        "People",
        [
            *("auth.user", "auth.group", "devices.invitation", "usersessions.usersession", "mfa.authenticator"),
            *("allauth_idp_oidc.client", "devices.apitoken", "devices.signingkey"),
        ],
    ),
    "portal": (
        "Portal",
        [
            *("operations.connectionminute", "operations.checkedkey", "django_celery_beat.periodictask"),
            *("django_celery_beat.intervalschedule", "django_celery_beat.crontabschedule"),
        ],
    ),
}
"""Key → name, and its models in the order in which they are shown."""
LAST = "portal"
"""Where a model stands that nobody has put anywhere."""


def arranged(pages: list[dict[str, Any]], app_label: str | None = None) -> list[dict[str, Any]]:
    """Django's list of apps, made of these pages by room; with a label only the rooms in which that app has pages."""
    by_name = {page["model"]._meta.label_lower: page for page in pages}
    known = {name for _, names in ROOMS.values() for name in names}
    rooms = []
    for key, (label, names) in ROOMS.items():
        others = sorted(set(by_name) - known) if key == LAST else []
        shown = [by_name[name] for name in [*names, *others] if name in by_name]
        apps = [page["model"]._meta.app_label for page in shown]
        if shown and (app_label is None or app_label in apps):
            address = reverse("admin:app_list", args=[app_label or apps[0]])
            rooms.append(
                {"name": label, "app_label": key, "app_url": address, "has_module_perms": True, "models": shown}
            )
    return rooms
