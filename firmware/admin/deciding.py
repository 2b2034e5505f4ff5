"""What happens when somebody presses a button of a campaign: rights, the question with its numbers, then the act."""

from typing import Any

from celery.exceptions import OperationalError
from django import forms
from django.contrib import messages
from django.contrib.admin.widgets import AdminTextInputWidget
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from redis.exceptions import RedisError

from devices.admin.base import FleetAdmin
from devices.errors import DomainError
from firmware import planning
from firmware.admin.campaign_acts import DECIDE, Act, Said, allowed, applies
from firmware.errors import FirmwareError
from firmware.models import Campaign
from firmware.tasks import advance

_REASON = 200


class QuestionForm(forms.Form):
    """What is asked before an act."""

    def __init__(self, act: Act, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if act.asks_when:
            self.fields["starts_at"] = forms.DateTimeField(
                label="Starts", required=False, help_text="UTC. Empty: somebody starts it by hand.",
                widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
            )  # fmt: skip
        if act.confirmed:
            self.fields["reason"] = forms.CharField(
                label="Reason" if act.reason else "Remark", required=act.reason, max_length=_REASON,
                help_text="Kept as evidence with your name.",
                widget=AdminTextInputWidget(attrs={"autofocus": not act.asks_when, "autocomplete": "off"}),
                error_messages={"required": "Say why: it becomes evidence."},
            )  # fmt: skip

    def clean_starts_at(self) -> Any:
        """In the future."""
        starts = self.cleaned_data["starts_at"]
        if starts and starts <= timezone.now():
            raise forms.ValidationError("This moment has passed. Times are in UTC.")
        return starts


def decide(page: FleetAdmin, request: HttpRequest, campaign: Campaign, act: Act) -> HttpResponse:
    """Ask where it must be asked, then do it; what is refused becomes a message. Raises PermissionDenied."""
    if not allowed(request, act):
        raise PermissionDenied(act.permission)
    back = HttpResponseRedirect(reverse("admin:firmware_campaign_change", args=[campaign.pk]))
    if act.permission == DECIDE and campaign.author_id == request.user.pk:
        messages.error(request, "You wrote this plan: somebody else has to decide about it.")
        return back
    if not applies(act, campaign, request.user):
        messages.warning(request, f"{act.verb}: it is {campaign.get_state_display().lower()} now.")
        return back
    answered = "confirmed" in request.POST or not act.confirmed
    form = QuestionForm(act, request.POST if answered else None)
    if not answered or not form.is_valid():
        return _ask(page, request, campaign, act, form)
    try:
        _do(request, campaign, act, Said(form.cleaned_data.get("reason", ""), form.cleaned_data.get("starts_at")))
    except DomainError as error:
        messages.error(request, error.detail)
    return back


def _do(request: HttpRequest, campaign: Campaign, act: Act, said: Said) -> None:
    """Each use case is a transaction of its own: what it writes before it refuses must stay."""
    if act.name == "approve":
        told = _approve(request, campaign, act, said)
    else:
        told = act.carry_out(campaign, request.user, said, timezone.now())
    messages.success(request, told)
    transaction.on_commit(lambda: _advance(campaign.pk), robust=True)  # it is named where it fails: no partial


@transaction.atomic
def _approve(request: HttpRequest, campaign: Campaign, act: Act, said: Said) -> str:
    """What was looked at is what is approved. Locked first: an edit that is being saved now is waited for, and seen."""
    row = Campaign.objects.select_for_update(of=("self",)).get(pk=campaign.pk)
    if request.POST.get("digest") != planning.digest(row):
        raise FirmwareError("The plan was edited while you looked at it: look at it again first.", "plan_changed")
    return act.carry_out(campaign, request.user, said, timezone.now())


def _advance(campaign_pk: int) -> None:
    """At once instead of at the next sweep."""
    try:
        advance.delay(campaign_pk)
    except (OperationalError, RedisError):
        return  # the sweep is the truth


def _ask(page: FleetAdmin, request: HttpRequest, campaign: Campaign, act: Act, form: QuestionForm) -> TemplateResponse:
    context = {
        **page.admin_site.each_context(request),
        "title": f"{act.verb}: {campaign.name}",
        "opts": page.opts,
        "original": campaign,
        "act": act,
        "form": form,
        "notes": act.notes(campaign),
        "digest": planning.digest(campaign) if act.name == "approve" else "",
    }
    return TemplateResponse(request, "admin/firmware/campaign/question.html", context)
