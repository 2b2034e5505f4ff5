"""The form that composes a campaign: what, for whom, how fast, and when it stops. What is wrong is said where it is."""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from devices.audited import WHY
from devices.models import Tenant
from firmware.admin.plain_fields import FriendlyDurationField, PercentField, WordsField, say_duration
from firmware.models import Campaign, Release, Stage

DEFAULT_PERCENTS = (1, 5, 10, 25, 100)
DEFAULT_SOAK = timedelta(minutes=30)
_RELEASES = 200
_DAY = timedelta(days=1)
_PARTS: list[tuple[str, str, list[str]]] = [
    ("What", "", ["name", "release", "notes"]),
    (
        "Whom",
        "Devices of the release's types that match all of these. What is left empty matches every device.",
        ["tenants", "groups", "sites", "tags", "versions", "ring", "spread_sites", "continuous", "ends_at"],
    ),
    (
        "How fast",
        "The stages below say how many get it; this says how quickly within a stage.",
        ["max_concurrent", "offers_per_minute", "use_windows", "reboot_jitter", "download_attempts"],
    ),
    (
        "When it stops",
        "Rates are percent of the devices that got it; more than that stops the campaign.",
        [
            *("rolls_back", "error_rate", "offline_rate", "reject_rate", "burn_rate", "success_target"),
            *("min_executed", "offline_grace", "verify_time", "install_timeout", "stage_timeout"),
        ],
    ),
]
FIELDSETS: Any = [(name, {"fields": fields, "description": told}) for name, told, fields in _PARTS]
PLAN_FIELDS = [name for _, _, fields in _PARTS for name in fields]


class ReleaseChoice(forms.ModelChoiceField):
    """The newest releases that may be rolled out, with the hardware they are made for."""

    def label_from_instance(self, obj: Any) -> str:
        """`1.4.2 for Cold logger, Pump`."""
        types = sorted(str(each.device_type) for each in obj.compatibilities.all())
        return f"{obj.version} for {', '.join(types)}"


class CampaignForm(forms.ModelForm):
    """A campaign's plan in plain words."""

    release = ReleaseChoice(queryset=Release.objects.none(), help_text="Signed, and not archived; the newest first.")
    tags = WordsField(
        longest=63, help_text="Devices with at least one of these tags, with commas between them: beta, cold-chain."
    )
    versions = WordsField(
        longest=64, label="Running versions", help_text="Devices that run one of these now: 1.4.0, 1.4.1."
    )
    reboot_jitter = FriendlyDurationField(
        most=_DAY, help_text="Each device reboots after a random part of this, so that not all reboot at once."
    )
    error_rate = PercentField(label="Failed (%)", help_text="More failed than this: the release is taken back.")
    offline_rate = PercentField(
        label="Gone after the reboot (%)", help_text="More stayed silent after their reboot: the release is taken back."
    )
    reject_rate = PercentField(label="Refused (%)", help_text="More devices refused it: the campaign pauses.")
    success_target = PercentField(
        label="Aim (%)", most="99.99", help_text="How many should succeed. What may fail is the rest."
    )
    offline_grace = FriendlyDurationField(
        most=7 * _DAY, label="Grace for silence", help_text="So long a device may be silent after its reboot."
    )
    verify_time = FriendlyDurationField(
        most=7 * _DAY, help_text="So long a device must stay online with the new version before it counts as a success."
    )
    install_timeout = FriendlyDurationField(
        least=timedelta(minutes=1), most=7 * _DAY, help_text="An installation that says nothing for longer has failed."
    )
    stage_timeout = FriendlyDurationField(
        least=timedelta(minutes=1), help_text="A stage that gets nowhere for longer is brought to somebody's attention."
    )

    class Meta:
        model = Campaign
        fields = PLAN_FIELDS
        labels = {
            "rolls_back": "Take a bad release back by itself",
            "spread_sites": "Spread over sites",
            "continuous": "Continuous",
            "use_windows": "Only within maintenance windows",
            "max_concurrent": "Most at once",
            "burn_rate": "Burn rate",
            "min_executed": "Devices before rates count",
            "ends_at": "Ends",
        }
        help_texts = {
            "name": "For people: the occasion, the place.",
            "notes": "For whoever approves it: what changes, what was tested, what to watch.",
            "ring": "The step of promotion this campaign is. Empty: the fleet in general.",
            "max_concurrent": "Devices between offer and installation at any moment.",
            "offers_per_minute": "Devices.",
            "download_attempts": "So often a device tries to download before it gives up.",
            "rolls_back": "Otherwise the campaign only pauses, and somebody decides.",
            "burn_rate": "Pauses when devices of the last 30 minutes fail so many times faster than the aim allows.",
            "min_executed": "Rates are judged once so many have ended (or the whole stage, where that is smaller).",
            "ends_at": "UTC; only for a continuous campaign. Empty: 30 days after its start.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in set(self.declared_fields) & set(self.fields) - {"release", WHY}:
            self.fields[name].initial = getattr(Campaign(), name)
        if "release" in self.fields:
            self.fields["release"].queryset = _releases(self.instance.release_id)  # type: ignore[attr-defined]

    def clean_ends_at(self) -> Any:
        """In the future."""
        ends = self.cleaned_data["ends_at"]
        if ends and ends <= timezone.now():
            raise forms.ValidationError("This moment has passed. Times are in UTC.")
        return ends

    def clean(self) -> dict[str, Any]:
        """What only several fields tell together."""
        told = super().clean() or self.cleaned_data
        tenants: QuerySet[Tenant] | None = told.get("tenants")
        for name in ("groups", "sites"):
            rows = told.get(name)
            strangers = rows.exclude(tenant__in=tenants) if tenants and rows is not None else ()
            if strangers:
                self.add_error(name, f"Not of the tenants above: {', '.join(str(row) for row in strangers)}.")
        if told.get("ends_at") and not told.get("continuous"):
            self.add_error("ends_at", "Only a continuous campaign ends at a moment: leave it empty.")
        install, stage = told.get("install_timeout"), told.get("stage_timeout")
        if install and stage and install > stage:
            self.add_error("install_timeout", f"Longer than the stage timeout ({say_duration(stage)}).")
        return told


class StageForm(forms.ModelForm):
    """A row of the stages. One without a percent is not there."""

    soak = FriendlyDurationField(
        required=False,
        most=30 * _DAY,
        initial=DEFAULT_SOAK,
        help_text="How long its devices are watched before the next stage begins, e.g. 30 min, 24 h.",
    )

    class Meta:
        model = Stage
        fields = ["percent", "soak"]

    def has_changed(self) -> bool:
        """Proposed rows count as they stand."""
        return bool(str(self["percent"].data or "").strip()) if self.is_bound else False

    def clean_soak(self) -> timedelta:
        """Empty: the default."""
        soak: timedelta | None = self.cleaned_data["soak"]
        return DEFAULT_SOAK if soak is None else soak


class StageFormSet(forms.BaseInlineFormSet):
    """The stages together: they grow, and end with everybody."""

    def clean(self) -> None:
        """Errors stand at the row they are about."""
        super().clean()
        if any(self.errors):
            return
        before, rows = 0, self.rows()
        if not rows:
            raise forms.ValidationError("A campaign has at least one stage: 100 percent.")
        timeout = self.instance.stage_timeout
        for form in rows:
            percent, soak = form.cleaned_data["percent"], form.cleaned_data["soak"]
            if percent <= before:
                form.add_error("percent", f"A stage holds more than the one before it ({before} %).")
            if isinstance(timeout, timedelta) and soak > timeout:
                form.add_error("soak", f"Longer than the stage timeout ({say_duration(timeout)}).")
            before = percent
        if before != 100:
            rows[-1].add_error("percent", "The last stage is 100 percent: everybody.")

    def rows(self) -> list[forms.ModelForm]:
        """What is meant, in the order of the page."""
        return [form for form in self.forms if form.has_changed() and form not in self.deleted_forms]

    def keep(self) -> None:
        """Put these in the place of the stages that were there."""
        stages = [
            Stage(
                campaign=self.instance,
                number=number,
                percent=form.cleaned_data["percent"],
                soak=form.cleaned_data["soak"],
            )
            for number, form in enumerate(self.rows(), 1)
        ]
        self.instance.stages.all().delete()
        Stage.objects.bulk_create(stages)
        self.new_objects, self.changed_objects, self.deleted_objects = [], [], []


class StageInline(admin.TabularInline):
    """The stages of a plan; whoever may edit the plan may edit them."""

    model = Stage
    form = StageForm
    formset = StageFormSet
    verbose_name_plural = "Stages"

    def get_extra(self, request: HttpRequest, obj: Any = None, **_: Any) -> int:
        """The proposal on a new campaign, one free row later."""
        return 1 if obj else len(DEFAULT_PERCENTS)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """As for the campaign."""
        return request.user.has_perm("firmware.add_campaign")

    has_change_permission = has_delete_permission = has_view_permission = has_add_permission


def proposed_stages() -> list[dict[str, Any]]:
    """What a new campaign begins with."""
    return [{"percent": percent, "soak": DEFAULT_SOAK} for percent in DEFAULT_PERCENTS]


def _releases(chosen: int | None) -> QuerySet[Release]:
    newest = list(Release.objects.ready().order_by("-pk").values_list("pk", flat=True)[:_RELEASES])
    rows = Release.objects.filter(pk__in=[*newest, *([chosen] if chosen else [])])
    return rows.order_by("-pk").prefetch_related("compatibilities__device_type")
