"""Replay and purge: the question with its numbers and the reason, then the act.

The question carries its moment, signed, and the act keeps to it: what came in since was not in the numbers.
"""

from datetime import datetime
from typing import Any

from django.contrib import messages
from django.core import signing
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone

from devices import evidence
from devices.admin.base import FleetAdmin
from telemetry.admin.deadletter_form import LetterFilter
from telemetry.refused import deadletters, replays
from telemetry.refused.selections import Selection, replayable

REPLAY, PURGE = "telemetry.add_replay", "telemetry.delete_deadletter"
LIST = "admin:telemetry_deadletter_changelist"
_REASON = 200
_SALT = "telemetry.deadletters.asked"
_WHY = "Say why: it becomes evidence."
_ANEW = "The question is put anew: look at its numbers, and say why."


def replay_page(page: FleetAdmin, request: HttpRequest) -> HttpResponse:
    """Take the letters of the address in again. Raises PermissionDenied."""
    if not request.user.has_perm(REPLAY):
        raise PermissionDenied(REPLAY)
    return _page(page, request, "Replay")


def purge_page(page: FleetAdmin, request: HttpRequest) -> HttpResponse:
    """Delete the letters of the address. Raises PermissionDenied."""
    if not request.user.has_perm(PURGE):
        raise PermissionDenied(PURGE)
    return _page(page, request, "Purge")


def _page(page: FleetAdmin, request: HttpRequest, verb: str) -> HttpResponse:
    if request.method not in ("GET", "HEAD", "POST"):
        return HttpResponseNotAllowed(["GET", "POST"])
    form = LetterFilter(request.GET, request.user)
    if not form.is_valid():
        told = "; ".join(str(each) for each in form.errors.get("__all__", ["The filter is not understood."]))
        messages.error(request, f"{verb}: {told}")
        return HttpResponseRedirect(reverse(LIST))
    selection = form.selection()
    why = request.POST.get("reason", "").strip()[:_REASON]
    asked = _read(request.POST.get("asked", ""))
    if request.method == "POST" and why and asked:
        act = _replay if verb == "Replay" else _purge
        return act(request, selection, asked, why)
    now = timezone.now()
    rows = selection.before(now).rows()
    total = rows.count()
    fit = replayable(rows).count() if verb == "Replay" else total
    context = {
        **page.admin_site.each_context(request),
        "title": f"{verb}: {total:,} dead letter{'' if total == 1 else 's'}",
        "opts": page.opts,
        "verb": verb,
        "words": selection.words(),
        "total": total,
        "fit": fit,
        "unfit": total - fit,
        "uncounted": deadletters.only_counted(rows),
        "query": form.query(),
        "asked": signing.dumps(now.isoformat(), salt=_SALT),
        "missing": (_ANEW if why else _WHY) if request.method == "POST" else "",
    }
    return TemplateResponse(request, "admin/telemetry/deadletter/question.html", context)


def _read(asked: str) -> datetime | None:
    """The moment of the question; None where it is not one of ours."""
    try:
        return datetime.fromisoformat(signing.loads(asked, salt=_SALT))
    except signing.BadSignature:
        return None


def _replay(request: HttpRequest, selection: Selection, asked: datetime, why: str) -> HttpResponse:
    replay = replays.request(selection.before(asked), request.user, why, timezone.now())
    return HttpResponseRedirect(reverse("admin:telemetry_replay_change", args=[replay.pk]))


def _purge(request: HttpRequest, selection: Selection, asked: datetime, why: str) -> HttpResponse:
    """What came in after the question, anew or again, is left: nobody was told of it."""
    now = timezone.now()
    rows = selection.before(asked).rows()
    told: dict[str, Any] = {"device": selection.device, "tenant": selection.tenant, "user": request.user}
    detail = {"letters": selection.words(), "found": rows.count()}
    # Before the first batch: where a crash leaves the rest, it is known who began and why.
    evidence.record("deadletters.purged", reason=why, detail=detail, at=now, **told)
    deleted = deadletters.delete(rows)
    messages.success(request, f"Purged: {deleted:,} dead letter{'' if deleted == 1 else 's'}.")
    return HttpResponseRedirect(reverse(LIST))
