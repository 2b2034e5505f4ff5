"""The staff's pages of devices: the list, the cockpit of one, and what may be done to them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.safestring import SafeString

from devices import lifecycle, panels
from devices.admin.base import FleetAdmin, with_reason
from devices.admin.bulk import ACTS, arrange
from devices.admin.chain import viewed
from devices.admin.device_form import DeviceForm
from devices.admin.import_page import import_page
from devices.admin.renewals import state_badge as renewal_badge
from devices.admin.replace import replace_page
from devices.admin.rotation import describe, rotate
from devices.admin.shutting_out import ShutOut
from devices.admin.typed_filters import TagFilter, related
from devices.admin.worded_filters import either
from devices.badges import badge
from devices.errors import DeviceError
from devices.models import Certificate, Device, Group, Renewal, Site, Tenant


@dataclass(frozen=True, slots=True)
class ShownPanel:
    """A panel with what it shows of one device."""

    slug: str
    label: str
    template: str
    context: dict[str, Any]


_UseCase = Callable[[Device, str], bool]
_POSSIBLE = {
    Device.State.REGISTERED: ["decommission"],
    Device.State.ACTIVE: ["rotate", "quarantine", "decommission"],
    Device.State.QUARANTINED: ["release", "decommission"],
    Device.State.DECOMMISSIONED: [],
}
"""Which actions are offered on a device's own page."""
_FINDINGS = 5
"""Open findings in the head of a device's page; the list of findings has the rest."""
_HEAD = ["device_type", "tenant", "site", "presence", "claim", "replaces", "replaced_by"]


@admin.register(Device)
class DeviceAdmin(FleetAdmin):
    """The cockpit: a list that tells each device's state at a glance, and a page with everything about one."""

    form = DeviceForm
    list_display = [
        "__str__",
        "presence_badge",
        "state_badge",
        "device_type",
        "tenant",
        "site",
        "firmware",
        "last_seen",
    ]
    list_filter = [
        ("presence__online", either("connection", "Online", "Offline")),
        "state",
        "device_type",
        related("tenant", "tenant", Tenant, ("name", "slug")),
        related("site", "site", Site, ("name", "region")),
        related("groups", "group", Group),
        TagFilter,
    ]
    list_select_related = ["device_type", "tenant", "site", "presence"]
    ordering = ["name", "device_id"]
    search_fields = ["name", "device_id__exact", "hardware_id"]
    search_help_text = "Name, hardware id, or the whole device id"
    autocomplete_fields = ["tenant", "device_type", "site", "groups"]
    _asked = ["tenant", "device_type", "hardware_id", "name", "site", "groups", "tags"]
    _shown = [
        "name",
        "device_id",
        "hardware_id",
        "tenant",
        "device_type",
        "state_badge",
        "site",
        "groups",
        "tags",
        "created_at",
    ]
    _fixed = ["device_id", "hardware_id", "tenant", "device_type", "state_badge", "created_at"]
    csv_columns = [
        "device_id", "hardware_id", "name", "state_badge", "presence_badge", "device_type", "tenant", "site", "tags",
        "firmware", "last_seen", "created_at",
    ]  # fmt: skip
    actions = [*ACTS, "rotate", "quarantine", "release", "decommission"]
    change_list_template = "admin/devices/device/change_list.html"
    help_texts = {
        "tenant": "Whose it is. It never moves to another tenant.",
        "device_type": "Its hardware model: what it says and which firmware it takes hang on it.",
        "name": "What people call it.",
        "site": "Where it is: a place of its tenant.",
        "groups": "Of its tenant: campaigns, windows and commands are aimed at them.",
    }

    def get_fields(self, request: HttpRequest, obj: Device | None = None) -> list[Any]:
        """What is asked when one is registered, and what is told of one."""
        return self._shown if obj else self._asked

    def get_readonly_fields(self, request: HttpRequest, obj: Device | None = None) -> list[str]:
        """What makes a device who it is does not change."""
        return self._fixed if obj else []

    def has_life_permission(self, request: HttpRequest) -> bool:
        """Whoever runs devices, and whoever may revoke what they hold, ends and replaces them."""
        return request.user.has_perm("devices.change_device") or request.user.has_perm("devices.change_certificate")

    def has_rotate_permission(self, request: HttpRequest) -> bool:
        """The right to have devices asked for a new certificate."""
        return request.user.has_perm("devices.change_renewal")

    def has_arrange_permission(self, request: HttpRequest) -> bool:
        """The right to tag, group and move devices."""
        return request.user.has_perm("devices.change_device")

    @admin.action(description="Add a tag…", permissions=["arrange"])
    def add_tag(self, request: HttpRequest, queryset: QuerySet[Device]) -> HttpResponse | None:
        """To each of them."""
        return arrange(self, request, queryset, "add_tag")

    @admin.action(description="Remove a tag…", permissions=["arrange"])
    def remove_tag(self, request: HttpRequest, queryset: QuerySet[Device]) -> HttpResponse | None:
        """From each that has it."""
        return arrange(self, request, queryset, "remove_tag")

    @admin.action(description="Put in a group…", permissions=["arrange"])
    def put_in(self, request: HttpRequest, queryset: QuerySet[Device]) -> HttpResponse | None:
        """Of their tenant."""
        return arrange(self, request, queryset, "put_in")

    @admin.action(description="Take out of a group…", permissions=["arrange"])
    def take_out(self, request: HttpRequest, queryset: QuerySet[Device]) -> HttpResponse | None:
        """Each that is in it."""
        return arrange(self, request, queryset, "take_out")

    @admin.action(description="Move to a site…", permissions=["arrange"])
    def move(self, request: HttpRequest, queryset: QuerySet[Device]) -> HttpResponse | None:
        """Of their tenant."""
        return arrange(self, request, queryset, "move")

    @admin.action(description="Rotate certificate now…", permissions=["rotate"])
    def rotate(self, request: HttpRequest, queryset: QuerySet[Device]) -> HttpResponse | None:
        """Have them asked for a new certificate, whatever the age of the present one."""
        return rotate(self, request, queryset)

    @admin.action(description="Quarantine…", permissions=["life"])
    def quarantine(self, request: HttpRequest, queryset: QuerySet[Device]) -> HttpResponse | None:
        """Leave them only `status` and `cmd`."""
        use_case = partial(lifecycle.quarantine, user=request.user)
        note = (
            "They keep `status` and `cmd` and lose all else. A live session is ended; they come back under these rules."
        )
        return self._move(request, queryset, "Quarantine", use_case, note)

    @admin.action(description="Release from quarantine…", permissions=["life"])
    def release(self, request: HttpRequest, queryset: QuerySet[Device]) -> HttpResponse | None:
        """Let them speak again."""
        use_case = partial(lifecycle.release, user=request.user)
        note = "They speak on all their topics again."
        return self._move(request, queryset, "Release", use_case, note)

    @admin.action(description="Decommission…", permissions=["life"])
    def decommission(self, request: HttpRequest, queryset: QuerySet[Device]) -> HttpResponse | None:
        """End their lives and revoke their certificates."""
        use_case = partial(lifecycle.decommission, user=request.user, now=timezone.now())
        held = Certificate.objects.trusted(timezone.now()).filter(device__in=queryset)
        note = f"For good. Certificates in use that are revoked: {held.count()}. Live sessions end; the evidence stays."
        return self._move(request, queryset, "Decommission", use_case, note)

    def _move(
        self,
        request: HttpRequest,
        rows: QuerySet[Device],
        verb: str,
        use_case: Callable[[Device, str], bool],
        note: str,
    ) -> HttpResponse | None:
        moved = ShutOut(request)

        def carry_out(device: Device, reason: str) -> bool:
            changed = use_case(device, reason)
            if changed:
                moved.add(device.device_id)
            return changed

        rows, told = rows.select_related("tenant"), {"about": describe, "notes": lambda: [note]}
        return with_reason(self, request, rows, verb, carry_out, afterwards=moved.after_commit, **told)

    @admin.display(description="Connection", ordering="presence__online")
    def presence_badge(self, device: Device) -> SafeString:
        """Online or offline."""
        return badge("online" if device.presence.online else "offline")

    @admin.display(description="State", ordering="state")
    def state_badge(self, device: Device) -> SafeString:
        """Life-cycle state."""
        return badge(device.state, device.get_state_display())

    @admin.display(description="Firmware", ordering="presence__firmware_version")
    def firmware(self, device: Device) -> str:
        """Version of the last birth."""
        return device.presence.firmware_version or "—"

    @admin.display(description="Last seen", ordering="presence__last_seen_at")
    def last_seen(self, device: Device) -> Any:
        """When it was last heard."""
        return device.presence.last_seen_at

    def get_urls(self) -> list[URLPattern]:
        """The pages on which a device is replaced, and many are taken in."""
        view = self.admin_site.admin_view
        return [
            path("import/", view(self.import_view), name="devices_device_import"),
            path("<path:object_id>/replace/", view(self.replace), name="devices_device_replace"),
            *super().get_urls(),
        ]

    def import_view(self, request: HttpRequest) -> HttpResponse:
        """Many new devices, from a table."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        return import_page(self, request)

    def replace(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """New hardware in the place of this device (RMA)."""
        device = viewed(self, request, object_id)
        if not self.has_life_permission(request):
            raise PermissionDenied
        return replace_page(self, request, device)

    def save_model(self, request: HttpRequest, obj: Device, form: Any, change: bool) -> None:
        """Register it by the use case; its groups follow in the same transaction."""
        if change:
            super().save_model(request, obj, form, change)
            return
        made = lifecycle.register(
            tenant=obj.tenant,
            device_type=obj.device_type,
            hardware_id=obj.hardware_id,
            name=obj.name,
            site=obj.site,
            user=request.user,
        )
        made.tags = obj.tags
        made.save(update_fields=["tags"])
        obj.__dict__.update(made.__dict__)

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Nothing typed is lost, not even when the device enrols at this very moment."""
        told = {"title": "Register a device", "show_save_and_continue": False, **(extra_context or {})}
        try:
            return super().add_view(request, form_url, told)
        except DeviceError:
            return super().add_view(request, form_url, told)  # the form sees now who was first, and says so

    def response_post_save_add(self, request: HttpRequest, obj: Device) -> HttpResponseRedirect:
        """To its page, which says how it joins."""
        return HttpResponseRedirect(reverse("admin:devices_device_change", args=[obj.pk]))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The form, what may be done now, and the panels that the rooms registered."""
        device = self.get_object(request, object_id)
        told = self._told(request, device) if device else {}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **told})

    def _told(self, request: HttpRequest, device: Device) -> dict[str, Any]:
        renewal = device.renewals.filter(state__in=Renewal.OPEN).first()
        may_replace = device.state != Device.State.DECOMMISSIONED and self.has_life_permission(request)
        return {
            "panels": [
                ShownPanel(panel.slug, panel.label, panel.template, panel.context(device)) for panel in panels.panels()
            ],
            "buttons": self.buttons(request, *_POSSIBLE[Device.State(device.state)]),
            "more_buttons": [("../replace/", "Replace (RMA)…")] if may_replace else [],
            "findings": device.findings.filter(resolved_at__isnull=True)[:_FINDINGS],
            "renewal": renewal,
            "renewal_badge": renewal and renewal_badge(renewal),
        }

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """With what the page's head shows."""
        device = super().get_object(request, object_id, from_field)
        return device and Device.objects.select_related(*_HEAD).get(pk=device.pk)
