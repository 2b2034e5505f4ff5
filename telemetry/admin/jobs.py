"""Replays and exports: how far they are, who asked, and what went wrong."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from devices import evidence
from devices.admin.base import ReadOnlyAdmin
from devices.admin.chain import viewed
from devices.badges import badge, below, when
from telemetry import jobs
from telemetry.exporting import exports
from telemetry.models import Export, Job, Replay
from telemetry.refused.selections import Selection

_SHOWN = 20
_STAMP = "%Y-%m-%d %H:%M UTC"


class JobAdmin(ReadOnlyAdmin):
    """A list with progress, and a page that moves by itself."""

    right = ""
    """Permission to end it."""
    unit = ""
    ended = "Cancelled. What was taken stays taken."

    class Media:
        css = {"all": ["admin/letters.css"]}

    def get_urls(self) -> list[URLPattern]:
        """Its end."""
        ours = path("<int:pk>/cancel/", self.admin_site.admin_view(self.cancel), name=f"{self._name}_cancel")
        return [ours, *super().get_urls()]

    @property
    def _name(self) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}"

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """How far it is."""
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET"])
        job: Any = viewed(self, request, object_id)
        context = {
            **self.admin_site.each_context(request),
            "title": f"{str(self.opts.verbose_name).capitalize()} {job.pk}",
            "opts": self.opts,
            "list": f"admin:{self._name}_changelist",
            "cancel": f"admin:{self._name}_cancel",
            "job": job,
            "badge": badge(job.state, job.get_state_display()),
            "unit": self.unit,
            "ending": self.ending(job) if request.user.has_perm(self.right) else "",
            **self.told(job),
        }
        return TemplateResponse(request, "admin/telemetry/job/change_form.html", context)

    def told(self, job: Any) -> dict[str, Any]:
        """What this kind of job has beyond any: facts, wide ones, links."""
        raise NotImplementedError

    def cancel(self, request: HttpRequest, pk: int) -> HttpResponse:
        """End it where it is."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        job: Any = viewed(self, request, str(pk))
        if not request.user.has_perm(self.right):
            raise PermissionDenied(self.right)
        if self.end(request, job):
            messages.success(request, self.ended)
        else:
            messages.warning(request, "It had ended already.")
        return HttpResponseRedirect(reverse(f"admin:{self._name}_change", args=[job.pk]))

    def ending(self, job: Any) -> str:
        """What the button that ends it says; empty where nothing is left to end."""
        return "Cancel it" if job.is_open else ""

    def end(self, request: HttpRequest, job: Any) -> bool:
        """Did that end it?"""
        raise NotImplementedError

    @admin.display(description="State", ordering="state")
    def state_shown(self, job: Job) -> SafeString:
        """With why it failed."""
        shown = badge(job.state, job.get_state_display())
        return below(shown, job.error) if job.error else shown

    @admin.display(description="Progress")
    def progress_shown(self, job: Job) -> SafeString | str:
        """While it moves a bar, afterwards how many."""
        if job.state != Job.State.RUNNING:
            return f"{job.done:,} of {job.total:,}" if job.total else "—"
        return format_html(
            '<progress max="100" value="{}" aria-label="Progress"></progress> {} %', job.percent, job.percent
        )

    @admin.display(description="Asked for", ordering="created_at")
    def asked(self, job: Job) -> SafeString:
        """When and by whom."""
        return below(when(job.created_at), job.requested_by or "—")


@admin.register(Replay)
class ReplayAdmin(JobAdmin):
    """Dead letters taken in once more."""

    right = "telemetry.add_replay"
    unit = "letters"
    list_display = ["asked", "which", "state_shown", "progress_shown", "stored", "refused"]
    list_display_links = ["asked", "which"]
    list_filter = ["state"]
    list_select_related = ["requested_by", "tenant", "device_type", "device"]

    def told(self, job: Replay) -> dict[str, Any]:
        """Its figures."""
        facts = [
            ("Readings stored", f"{job.stored:,}"),
            ("Stored already", f"{job.duplicates:,}"),
            ("Letters refused again", f"{job.refused:,}"),
            ("Cannot be replayed", f"{job.skipped:,}"),
        ]
        link = reverse("admin:telemetry_deadletter_changelist")
        wide = [("Letters", Selection.of(job).words()), ("Reason given", job.why)]
        return {"facts": facts, "wide": wide, "links": [(link, "Dead letters")]}

    def end(self, request: HttpRequest, job: Replay) -> bool:
        """What was taken stays taken; the rest stays dead letters."""
        ended = jobs.cancel(job, timezone.now())
        if ended:
            evidence.record("deadletters.replay_canceled", user=request.user, detail={"replay": job.pk})
        return ended

    @admin.display(description="Letters")
    def which(self, job: Replay) -> SafeString:
        """Which letters, and why."""
        return below(Selection.of(job).words(), job.why or "—")


@admin.register(Export)
class ExportAdmin(JobAdmin):
    """Files that people asked for."""

    right = exports.REMOVE
    unit = "parts"
    ended = "Ended; no file is left."
    list_display = ["asked", "tenant", "what", "state_shown", "progress_shown", "size_shown"]
    list_display_links = ["asked"]
    list_filter = ["state", "format", ("tenant", admin.RelatedOnlyFieldListFilter)]
    list_select_related = ["requested_by", "tenant"]

    def told(self, job: Export) -> dict[str, Any]:
        """What is in it, and where it is."""
        devices = [str(each) for each in job.devices.order_by("name", "device_id")[: _SHOWN + 1]]
        named = ", ".join(devices[:_SHOWN]) + (" and more" if len(devices) > _SHOWN else "")
        facts = [
            ("Tenant", job.tenant),
            ("Format", job.get_format_display()),
            ("Resolution", job.get_resolution_display()),
            ("Range", f"{job.since:{_STAMP}} – {job.until:{_STAMP}}"),
            ("Rows", f"{job.rows:,}"),
            ("Size", filesizeformat(job.size)),
            ("Kept until", when(job.expires_at) if job.is_there else "no file any more" if job.expires_at else "—"),
        ]
        links = [(reverse("export-file", args=[job.pk]), "Download")] if job.is_there else []
        return {"facts": facts, "wide": [("Devices", named)], "links": links}

    def ending(self, job: Export) -> str:
        """A file can be deleted before its time."""
        return "Delete the file" if job.is_there else super().ending(job)

    def end(self, request: HttpRequest, job: Export) -> bool:
        """Its file, if there is one, goes."""
        return exports.remove(job, request.user, timezone.now())

    @admin.display(description="Format, resolution")
    def what(self, job: Export) -> SafeString:
        """Both."""
        return below(job.get_format_display(), job.get_resolution_display())

    @admin.display(description="Size", ordering="size")
    def size_shown(self, job: Export) -> str:
        """Of the file."""
        return filesizeformat(job.size) if job.size else "—"
