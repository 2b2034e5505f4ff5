"""The staff's pages of campaigns: the list, the form that composes one, its dry run, its live page and its report."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.widgets import RelatedFieldWidgetWrapper
from django.core.exceptions import PermissionDenied
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from devices.admin.base import FleetAdmin
from devices.admin.chain import viewed
from devices.badges import badge, below, when
from firmware import campaigns
from firmware.admin import updates  # noqa: F401 (registers the page of one update)
from firmware.admin.campaign_acts import BY_NAME, WRITE
from firmware.admin.campaign_form import (
    FIELDSETS,
    PLAN_FIELDS,
    CampaignForm,
    StageFormSet,
    StageInline,
    proposed_stages,
)
from firmware.admin.campaign_live import live_context
from firmware.admin.campaign_plan import plan_context
from firmware.admin.campaign_report import csv_file, report_context
from firmware.admin.deciding import decide
from firmware.admin.gauges import tallied
from firmware.errors import FirmwareError
from firmware.models import Campaign, Stage
from firmware.states import EDITABLE, CampaignState, StageState

_HEAD = ["release", "ring", "author", "approved_by", "rollback_of__release", "rollback"]
_OPEN = [StageState.ROLLING, StageState.SOAKING]


@admin.register(Campaign)
class CampaignAdmin(FleetAdmin):
    """A campaign's own page is its dry run until it starts, and from then on its live page."""

    form = CampaignForm
    inlines = [StageInline]
    fieldsets = FIELDSETS
    autocomplete_fields = ["tenants", "groups", "sites"]
    change_form_template = "admin/firmware/campaign/change_form.html"
    change_list_template = "admin/firmware/campaign/change_list.html"
    list_display = ["name_shown", "state_shown", "stage_shown", "progress_shown", "people_shown", "started_shown"]
    list_display_links = ["name_shown"]
    list_filter = [
        "state",
        ("ring", admin.RelatedOnlyFieldListFilter),
        ("release__device_types", admin.RelatedOnlyFieldListFilter),
        ("author", admin.RelatedOnlyFieldListFilter),
    ]
    help_texts = {
        "tenants": "Only devices of these. Empty: of all.",
        "sites": "Only devices at these. Empty: at all.",
        "groups": "Only devices in any of these. Empty: in any or none.",
    }
    list_select_related = ["release", "author", "approved_by", "rollback_of"]
    search_fields = ["name", "=release__version"]
    search_help_text = "Name, or the whole version"
    actions = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """With where each is among its stages."""
        stages = Stage.objects.filter(campaign=OuterRef("pk")).order_by()
        number = stages.filter(state__in=_OPEN).values("number")[:1]
        total = stages.values("campaign").annotate(total=Count("pk")).values("total")
        passed = stages.filter(state=StageState.PASSED).values("campaign").annotate(total=Count("pk")).values("total")
        rows: QuerySet[Any] = super().get_queryset(request)
        told = {"stage_open": Subquery(number), "stage_total": Subquery(total), "stage_passed": Subquery(passed)}
        found: QuerySet[Any] = rows.annotate(**told)
        return found

    # --- who may what -----------------------------------------------------------------------------------------------

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """The plan is edited by those who compose, until it starts. To run it is another right (campaign_acts.py)."""
        editable = obj is None or (obj.state in EDITABLE and obj.rollback_of_id is None)
        return editable and request.user.has_perm(WRITE)

    # --- pages ------------------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        """What hangs on a campaign's own page."""
        pages = {"edit": self.edit, "live": self.live, "report": self.report}
        view, name = self.admin_site.admin_view, "firmware_campaign"
        return [
            *(path(f"<int:pk>/{word}/", view(page), name=f"{name}_{word}") for word, page in pages.items()),
            path("<int:pk>/report.csv", view(self.csv), name=f"{name}_csv"),
            path("<int:pk>/act/<slug:act>/", view(self.act), name=f"{name}_act"),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Where it is now. Changed it is on its pages for that."""
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET"])
        campaign = self._campaign(request, object_id)
        editable = campaign.state in EDITABLE and campaign.rollback_of_id is None
        if editable or campaign.started_at is None:
            return self._page(request, campaign, "plan", plan_context(request, campaign))
        return self._page(request, campaign, "live", live_context(request, campaign))

    def live(self, request: HttpRequest, pk: int) -> HttpResponse:
        """What moves on the live page, by itself."""
        campaign = self._campaign(request, pk)
        if campaign.started_at is None:
            raise Http404
        context = live_context(request, campaign)
        template = "admin/firmware/campaign/live_parts.html"
        return TemplateResponse(request, template, context, headers={"Cache-Control": "no-store"})

    def report(self, request: HttpRequest, pk: int) -> HttpResponse:
        """What it came to."""
        campaign = self._campaign(request, pk)
        return self._page(request, campaign, "report", report_context(campaign))

    def csv(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        """Every device, as a file."""
        return csv_file(request, self._campaign(request, pk))

    def act(self, request: HttpRequest, pk: int, act: str) -> HttpResponse:
        """A button was pressed."""
        campaign = self._campaign(request, pk)
        if act not in BY_NAME:
            raise Http404
        if request.method == "GET":
            return HttpResponseRedirect(_own(campaign))  # a reload, or a question that was left open
        if request.method != "POST":
            return HttpResponseNotAllowed(["GET", "POST"])
        return decide(self, request, campaign, BY_NAME[act])

    def _page(self, request: HttpRequest, campaign: Campaign, name: str, told: dict[str, Any]) -> TemplateResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": campaign.name,
            "opts": self.opts,
            "original": campaign,
            "may_edit": self.has_change_permission(request, campaign),
            **told,
        }
        return TemplateResponse(request, f"admin/firmware/campaign/{name}.html", context)

    def _campaign(self, request: HttpRequest, pk: object) -> Campaign:
        """With what its head shows. Raises Http404 and PermissionDenied."""
        found: Campaign = viewed(self, request, str(pk))
        return found

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """With what its head shows."""
        found = super().get_object(request, object_id, from_field)
        return found and Campaign.objects.select_related(*_HEAD).get(pk=found.pk)

    # --- composing --------------------------------------------------------------------------------------------------

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Compose one; a release's page leads here with `?release=`."""
        told = {"title": "Compose a campaign", **_ONE_BUTTON, **(extra_context or {})}
        return super().add_view(request, form_url, told)

    def edit(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Edit the plan, until it starts; what was approved is not approved any more then."""
        campaign = self._campaign(request, pk)
        back = HttpResponseRedirect(_own(campaign))
        if not request.user.has_perm(WRITE):
            raise PermissionDenied(WRITE)
        if not self.has_change_permission(request, campaign):
            messages.warning(request, f"It is {campaign.get_state_display().lower()}: its plan is not edited any more.")
            return back
        told = {"title": f"Edit {campaign.name}", "subtitle": None, "warns": _warns(campaign), **_ONE_BUTTON}
        try:
            return self.changeform_view(request, str(pk), "", told)
        except FirmwareError as error:
            messages.error(request, error.detail)
            return back

    def save_model(self, request: HttpRequest, obj: Campaign, form: Any, change: bool) -> None:
        """Only the plan is written, never the state: that may move at the same moment.

        Who writes the plan becomes its author, so that nobody approves what they wrote themselves: also where only
        its stages or filters have changed, as this is called for every answer of the form.
        """
        obj.author = request.user  # type: ignore[assignment]  # somebody signed in
        if not change:
            obj.save()
            return
        row = Campaign.objects.select_for_update(of=("self",)).get(pk=obj.pk)
        if row.state not in EDITABLE:
            raise FirmwareError("It has started meanwhile: its plan is not edited any more.", "not_editable")
        before, voided = row.state, row.approved_by
        campaigns.edited(row, request.user, timezone.now())
        if before != CampaignState.DRAFT:
            told = f"The approval by {voided} is void." if voided else "It was submitted before."
            messages.warning(request, f"{told} It is a draft again: submit it when it is ready.")
        own = [name for name in PLAN_FIELDS if not obj._meta.get_field(name).many_to_many]
        obj.save(update_fields=[*own, "author"])

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """What is chosen here is made elsewhere."""
        field: Any = super().formfield_for_dbfield(db_field, request, **kwargs)
        if isinstance(field and field.widget, RelatedFieldWidgetWrapper):
            widget = field.widget
            widget.can_add_related = widget.can_change_related = widget.can_view_related = False
        return field

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        """The stages, as a whole."""
        if isinstance(formset, StageFormSet):
            formset.keep()

    def get_formset_kwargs(self, request: HttpRequest, obj: Any, inline: Any, prefix: str) -> dict[str, Any]:
        """A new campaign begins with a proposal."""
        told: dict[str, Any] = super().get_formset_kwargs(request, obj, inline, prefix)
        return told if obj.pk else {**told, "initial": proposed_stages()}

    def response_add(self, request: HttpRequest, obj: Campaign, post_url_continue: str | None = None) -> HttpResponse:
        """To its dry run."""
        messages.success(request, "Saved as a draft. This is what it would do:")
        return HttpResponseRedirect(_own(obj))

    def response_change(self, request: HttpRequest, obj: Campaign) -> HttpResponse:
        """To its dry run."""
        messages.success(request, "Saved. This is what it would do now:")
        return HttpResponseRedirect(_own(obj))

    # --- the list ---------------------------------------------------------------------------------------------------

    @admin.display(description="Campaign, release", ordering="name")
    def name_shown(self, campaign: Campaign) -> SafeString:
        """Its name, and what it brings."""
        brings = f"Rollback of {campaign.rollback_of}" if campaign.rollback_of else campaign.release
        return below(campaign.name, brings)

    @admin.display(description="State", ordering="state")
    def state_shown(self, campaign: Campaign) -> SafeString:
        """The badge, and why it is paused."""
        shown = badge(campaign.state, campaign.get_state_display())
        return below(shown, campaign.get_pause_reason_display()) if campaign.pause_reason else shown

    @admin.display(description="Stage")
    def stage_shown(self, campaign: Any) -> str:
        """The open one of how many."""
        total, passed = campaign.stage_total or 0, campaign.stage_passed or 0
        if campaign.stage_open:
            return f"{campaign.stage_open} of {total}"
        return f"{passed} of {total} passed" if campaign.started_at else f"{total} planned"

    @admin.display(description="Succeeded")
    def progress_shown(self, campaign: Campaign) -> SafeString | str:
        """By the engine's last count."""
        if not campaign.targets:
            return "—"
        succeeded, failed = (int(tallied(campaign).get(name, 0)) for name in ("succeeded", "failed"))
        text = '<progress max="{}" value="{}" aria-label="Succeeded"></progress><br><span class="quiet">{}</span>'
        told = f"{succeeded:,} of {campaign.targets:,}" + (f", {failed:,} failed" if failed else "")
        return format_html(text, campaign.targets, min(succeeded, campaign.targets), told)

    @admin.display(description="Author, approver")
    def people_shown(self, campaign: Campaign) -> SafeString:
        """Two people, always."""
        return below(campaign.author, campaign.approved_by or "not approved")

    @admin.display(description="Started", ordering="started_at")
    def started_shown(self, campaign: Campaign) -> SafeString | str:
        """Or when it will."""
        if campaign.started_at or not campaign.starts_at:
            return when(campaign.started_at)
        return below(when(campaign.starts_at), "planned")


_ONE_BUTTON = {
    "show_save_and_add_another": False,
    "show_save_and_continue": False,
    "show_delete": False,
}


def _own(campaign: Campaign) -> str:
    return reverse("admin:firmware_campaign_change", args=[campaign.pk])


def _warns(campaign: Campaign) -> str:
    """What saving will cost."""
    if campaign.approved_by:
        return f"{campaign.approved_by} approved it. Saving voids that: it has to be submitted and approved again."
    if campaign.state == CampaignState.PENDING_APPROVAL:
        return "It waits for its approval. Saving makes it a draft again."
    return ""
