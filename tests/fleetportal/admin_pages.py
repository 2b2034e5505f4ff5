"""Every page of the admin as (name, address), generated from its URL configuration: a new one cannot be forgotten."""

import re

from django.contrib import admin
from django.contrib.auth.models import Group as Role
from django.urls import URLPattern, URLResolver, get_resolver

from fleetportal.roles import ROLES
from tests.factories import StaffFactory

NO_PAGES = {"jsi18n", "autocomplete", "logout", "login", "view_on_site", "save_view", "remove_view", "app_list", None}
"""Addresses that are no page by themselves: scripts and answers to them, redirects, forms without a page."""
BY_POST = {"telemetry_replay_cancel", "telemetry_export_cancel", "firmware_campaign_act"}
FILES = {"pem", "csv", "file", "sbom", "signature", "json", "table"}


def patterns():
    """(route, name) of the whole admin."""

    def walk(found, prefix=""):
        for each in found:
            if isinstance(each, URLResolver):
                yield from walk(each.url_patterns, prefix + str(each.pattern))
            elif isinstance(each, URLPattern):
                yield prefix + str(each.pattern), each.name

    resolvers = [each for each in get_resolver().url_patterns if getattr(each, "namespace", "") == "admin"]
    return list(walk(resolvers))


def row_of(name):
    """The page's own model's first row; where people have made none, None."""
    for model in admin.site._registry:
        prefix = f"{model._meta.app_label}_{model._meta.model_name}_"
        if name and name.startswith(prefix):
            return model, model._base_manager.order_by("pk").first()
    return None, None


def fill(route, values):
    """A route with these values in its parameters; a parameter nobody foresaw fails."""
    return re.sub(r"<(?:\w+:)?(\w+)>", lambda part: str(values[part[1]]), route)


def addresses(*, files=False):
    """Name → address, for the rows that are there."""
    found = {}
    for route, name in patterns():
        is_file = name and name.rsplit("_", 1)[-1] in FILES
        if name in NO_PAGES or name in BY_POST or name.endswith(("_delete",)) or bool(is_file) != files:
            continue
        model, row = row_of(name)
        values = {"name": "README.md", "act": "pause"}
        if "<" in route:
            if row is None and model is not None:
                continue
            key = row and row.pk
            values |= {"object_id": key, "pk": key, "id": key}
        address = "/" + fill(route, values)
        found[name] = address.replace("\\.", ".").replace("^", "").replace("$", "")
    return found


def extra(device):
    """What hangs on addresses with a query, or is another look of the same page."""
    group = device.groups.order_by("pk")[0]
    return {
        "devices_device_changelist filtered": f"/admin/devices/device/?q={device.device_id}&state__exact=active&tag=x",
        "devices_event_changelist searched": f"/admin/devices/event/?q={device.device_id}&by=others",
        "devices_group windows": f"/admin/devices/group/{group.pk}/change/",
        "telemetry_schema_add for": f"/admin/telemetry/schema/add/?device_type={device.device_type.slug}",
        "devices_finding_changelist open": "/admin/devices/finding/?resolved_at__isempty=1",
    }


def root():
    """A superuser who is in every role, so that each button is shown."""
    user = StaffFactory(first_name="Sam")
    user.groups.set(Role.objects.filter(name__in=ROLES))
    return user
