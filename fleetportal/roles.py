"""Staff roles as groups with least privilege; applied after every migrate, so a new model finds its readers at once."""

from dataclasses import dataclass
from typing import Any

from django.apps import AppConfig
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Group, Permission
from django.db.models import Q

ROLES: dict[str, dict[str, list[str]]] = {
    "Fleet operator": {
        "add": [
            "device",
            "site",
            "group",
            "maintenancewindow",
            "claim",
            "claimcode",
            "devicetoken",
            "schema",
            "ring",
            "stop",
            "replay",
        ],
        "change": [
            "device",
            "site",
            "group",
            "maintenancewindow",
            "tenant",
            "devicetype",
            "finding",
            "claim",
            "claimcode",
            "devicetoken",
            "approval",
            "renewal",
            "campaign",
            "hold",
            "ring",
            "stop",
            "schema",
        ],
        "delete": ["maintenancewindow", "ring", "deadletter", "export"],
    },
    # Who writes a campaign neither approves nor starts it: three people stand between a build and the fleet.
    "Firmware author": {"add": ["release", "campaign"], "change": ["release"]},
    "Firmware approver": {"add": ["verdict"]},
    "Security officer": {
        "add": [
            "claim",
            "claimcode",
            "client",
            "devicetoken",
            "suppression",
            "trustedkey",
            "uploadtoken",
            "stop",
            "retention",
        ],
        "change": [
            "client",
            "claim",
            "claimcode",
            "apitoken",
            "invitation",
            "devicetoken",
            "finding",
            "certificate",
            "suppression",
            "approval",
            "renewal",
            "trustedkey",
            "uploadtoken",
            "stop",
            "retention",
        ],
        "delete": ["client"],
    },
    "Support": {},
}
"""Role → verb → models. Every role may view every model of the rooms, but for those of `HIDDEN`."""
HIDDEN: dict[str, set[str]] = {
    "savedview": set(),
    "preference": set(),
    "repeatedrequest": set(),
    "spenttoken": set(),
    "signingkey": {"Security officer"},
    "client": {"Security officer"},
    "token": set(),
}
"""Model → the roles that may view it: what is a person's own, or of use only to whoever guards keys."""
_ROOMS = ("devices", "firmware", "telemetry", "operations", "allauth_idp_oidc")


@dataclass(frozen=True, slots=True)
class Verb:
    """Something people do, and the permissions that let them: any of these is enough."""

    what: str
    permissions: tuple[str, ...]


VERBS: dict[str, list[Verb]] = {
    "Devices": [
        Verb("register a device", ("add_device",)),
        Verb("rename, regroup, tag and move a device", ("change_device",)),
        Verb("quarantine, release, replace, decommission", ("change_device", "change_certificate")),
        Verb("make sites and groups", ("add_site", "add_group")),
        Verb("change sites and groups", ("change_site", "change_group")),
        Verb("set maintenance windows", ("add_maintenancewindow", "change_maintenancewindow")),
        Verb("remove maintenance windows", ("delete_maintenancewindow",)),
        Verb(
            "rename tenants, describe device types, set their budgets of readings",
            ("change_tenant", "change_devicetype"),
        ),
        Verb("cut versions of schemas of readings", ("add_schema",)),
        Verb("change them compatibly", ("change_schema",)),
    ],
    "Identity": [
        Verb("make claims", ("add_claim",)),
        Verb("revoke claims", ("change_claim",)),
        Verb("make claim codes", ("add_claimcode",)),
        Verb("revoke claim codes", ("change_claimcode",)),
        Verb("make and rotate device tokens", ("add_devicetoken",)),
        Verb("revoke device tokens", ("change_devicetoken",)),
        Verb("register apps that sign people in, renew their secrets", ("add_client", "change_client")),
        Verb("remove such apps, and with them all they can do", ("delete_client",)),
        Verb("let in or turn away who waits for approval", ("change_approval",)),
        Verb("have certificates renewed", ("change_renewal",)),
        Verb("revoke certificates", ("change_certificate",)),
        Verb("revoke API tokens of customers", ("change_apitoken",)),
        Verb("revoke invitations into customers' teams", ("change_invitation",)),
        Verb("resolve findings", ("change_finding",)),
        Verb("suppress findings, end that", ("add_suppression", "change_suppression")),
    ],
    "Firmware": [
        Verb("upload releases", ("add_release",)),
        Verb("archive releases", ("change_release",)),
        Verb("write, edit and submit campaigns", ("add_campaign",)),
        Verb("approve or reject campaigns (never their own)", ("add_verdict",)),
        Verb("schedule, start, pause, resume, abort, roll back, retry", ("change_campaign",)),
        Verb("clear holds", ("change_hold",)),
        Verb("make and change rings", ("add_ring", "change_ring")),
        Verb("remove rings that no campaign used", ("delete_ring",)),
        Verb("trust keys", ("add_trustedkey",)),
        Verb("revoke keys", ("change_trustedkey",)),
        Verb("make upload tokens", ("add_uploadtoken",)),
        Verb("revoke upload tokens", ("change_uploadtoken",)),
        Verb("stop all OTA", ("add_stop",)),
        Verb("lift that stop", ("change_stop",)),
    ],
    "Telemetry": [
        Verb("replay dead letters", ("add_replay",)),
        Verb("purge dead letters", ("delete_deadletter",)),
        Verb("end and remove exports of others", ("delete_export",)),
        Verb("make, change and end rules by which readings go early", ("add_retention", "change_retention")),
    ],
}
"""Room of the portal → what is done there. docs/roles.md is made of it."""
_INTRO = """# Roles

<!-- Generated by `manage.py describe_roles > docs/roles.md` from fleetportal/roles.py. Do not edit. -->

Staff have roles: groups of Django, given to people under *Admin → Users*, set anew after every `manage.py migrate`
(what somebody added to a role by hand is taken back). **Every role reads every page**, but for the
keys that sign apps' tokens (Security officer) and what people keep for themselves (nobody). What is not listed, only
superusers do: making tenants and people, among others. What ends or endangers something asks why, and leaves an event.

Who writes a campaign does not approve it: the database insists, whatever roles somebody has. Who runs it needs a third
role. The campaigns of a revoked key are paused with its revocation; that needs no right of its own.
"""
_OUTRO = """
Customers have a role in their tenant. A viewer sees the pages and readings of the tenant's devices, and may export
those readings. An operator also adds devices by claim code and edits them. An owner also manages the team. None of
them sees anything of another tenant, or of the admin.
"""


def apply(sender: AppConfig | None = None, **_: Any) -> None:
    """Give each role exactly its permissions; runs on post_migrate, once for each app."""
    if sender is not None:
        create_permissions(sender, verbosity=0)  # Django's own receiver, which makes them, runs after this one
    ours = Permission.objects.filter(content_type__app_label__in=_ROOMS)
    for role, verbs in ROLES.items():
        hidden = [f"view_{model}" for model, roles in HIDDEN.items() if role not in roles]
        wanted = Q(codename__startswith="view_") & ~Q(codename__in=hidden)
        for verb, models in verbs.items():
            wanted |= Q(codename__in=[f"{verb}_{model}" for model in models])
        group, _made = Group.objects.get_or_create(name=role)
        group.permissions.set(ours.filter(wanted))


def may(role: str, verb: Verb) -> bool:
    """Does the role let somebody do it?"""
    held = {f"{each}_{model}" for each, models in ROLES[role].items() for model in models}
    return bool(held & set(verb.permissions))


def page() -> str:
    """docs/roles.md."""
    parts = [_INTRO]
    for room, verbs in VERBS.items():
        parts.append(f"\n## {room}\n\n| | {' | '.join(ROLES)} |\n|---|{':-:|' * len(ROLES)}\n")
        parts += [
            f"| {verb.what} | {' | '.join('●' if may(role, verb) else '' for role in ROLES)} |\n" for verb in verbs
        ]
    return "".join([*parts, _OUTRO])
