"""The staff's pages of this room, and of what beat has done when."""

import json
from collections.abc import Callable
from typing import Any

from celery import current_app
from django.contrib import admin
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django_celery_beat import admin as beat
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, PeriodicTask, PeriodicTasks, SolarSchedule

from devices import evidence
from devices.admin.base import ReadOnlyAdmin, with_reason
from devices.admin.worded_filters import either
from devices.admin.words import call, call_app, replaced
from devices.audited import Audited
from operations.models import CheckedKey, ConnectionMinute


@admin.register(ConnectionMinute)
class ConnectionMinuteAdmin(ReadOnlyAdmin):
    """Connections let in and refused, minute by minute."""

    list_display = ["minute", "accepted", "refused"]


@admin.register(CheckedKey)
class CheckedKeyAdmin(ReadOnlyAdmin):
    """Kinds of keys in use."""

    list_display = ["certificate", "algorithm", "bits"]
    list_filter = ["algorithm"]
    list_select_related = ["certificate"]
    search_fields = ["=certificate__serial", "=certificate__device__device_id"]
    search_help_text = "The whole serial number or device id"


class PeriodicTaskAdmin(Audited, beat.PeriodicTaskAdmin):
    """Tasks that come again and again. The portal writes its own anew when beat starts."""

    tells_acts = False  # these ask why and leave evidence
    date_hierarchy = None
    list_display = ["name", "task", "enabled", "scheduler", "last_run_at"]
    list_filter = [("enabled", either("state", "Enabled", "Disabled"))]
    search_help_text = "A part of the name or of the task"
    actions = ["enable", "disable", "run"]
    fieldsets = [
        (None, {"fields": ["name", "regtask", "task", "enabled", "description"]}),
        (
            "Schedule",
            {"fields": ["interval", "crontab", "crontab_translation", "start_time", "last_run_at", "one_off"]},
        ),
        *beat.PeriodicTaskAdmin.fieldsets[2:],
    ]

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Acts are for whoever may change tasks."""
        found: dict[str, Any] = super().get_actions(request)
        return found if self.has_change_permission(request) else {}

    def crontab_translation(self, obj: Any) -> str:
        """In words; a new task, or one that comes by an interval, has none."""
        return str(obj.crontab.human_readable) if obj.crontab else "—"

    @admin.action(description="Enable…")
    def enable(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> HttpResponse | None:
        """They come again."""
        return self._switch(request, queryset, "Enable", to=True)

    @admin.action(description="Disable…")
    def disable(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> HttpResponse | None:
        """They come no more."""
        return self._switch(request, queryset, "Disable", to=False)

    @admin.action(description="Run now…")
    def run(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> HttpResponse | None:
        """Once, besides their schedule."""

        def carry_out(row: PeriodicTask) -> bool:
            current_app.loader.import_default_modules()
            task = current_app.tasks.get(row.task)
            if task is None:
                return False
            transaction.on_commit(
                lambda: task.apply_async(json.loads(row.args), json.loads(row.kwargs), queue=row.queue or None)
            )
            return True

        return self._act(request, queryset, "Run", "run", carry_out, {})

    def _switch(
        self, request: HttpRequest, rows: QuerySet[PeriodicTask], verb: str, *, to: bool
    ) -> HttpResponse | None:
        def carry_out(row: PeriodicTask) -> bool:
            told: dict[str, Any] = {"enabled": to} if to else {"enabled": to, "last_run_at": None}
            return bool(PeriodicTask.objects.filter(pk=row.pk, enabled=not to).update(**told))

        changes = {"changes": {"enabled": {"before": not to, "after": to}}}
        return self._act(request, rows, verb, "enabled" if to else "disabled", carry_out, changes)

    def _act(
        self,
        request: HttpRequest,
        rows: QuerySet[PeriodicTask],
        verb: str,
        kind: str,
        use_case: Callable[[PeriodicTask], bool],
        detail: dict[str, Any],
    ) -> HttpResponse | None:
        def carry_out(row: PeriodicTask, reason: str) -> bool:
            with transaction.atomic():
                done = use_case(row)
                if done:
                    told = {"id": str(row.pk), "name": row.name} | detail
                    evidence.record(f"periodictask.{kind}", user=request.user, reason=reason, detail=told)
            return done

        about = {"about": lambda row: f"{row.name} ({row.task})"}
        return with_reason(self, request, rows, verb, carry_out, afterwards=PeriodicTasks.update_changed, **about)


# Nothing here follows the sun, and nothing comes once at a given hour.
replaced(PeriodicTask, ClockedSchedule, SolarSchedule)
admin.site.register(PeriodicTask, PeriodicTaskAdmin)
call(CrontabSchedule, "time of day", "times of day")
for _label in ("operations", "django_celery_beat"):
    call_app(_label, "Portal")
