"""Where somebody is signed in: each session in words, and an end to any of them."""

from typing import Any

from allauth.usersessions.internal import flows
from allauth.usersessions.models import UserSession
from allauth.usersessions.views import ListUserSessionsView
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from devices.people import user_agents


@method_decorator(never_cache, name="dispatch")
class Sessions(ListUserSessionsView):
    """django-allauth's page, which ends all others, too."""

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """This one first, then by when they were last seen."""
        context: dict[str, Any] = super().get_context_data(**kwargs)
        rows = sorted(context["sessions"], key=lambda row: (row.is_current(), row.last_seen_at), reverse=True)
        context["rows"] = [{"row": row, "words": user_agents.words(row.user_agent)} for row in rows]
        return context


@never_cache
@login_required
@require_POST
def session_end(request: HttpRequest, pk: int) -> HttpResponse:
    """End a session of mine, with evidence by the adapter; ending this one is signing out."""
    row = get_object_or_404(UserSession.objects.filter(user_id=request.user.pk), pk=pk)
    here = row.is_current()
    flows.sessions.end_sessions(request, [row])
    if not here:
        messages.success(request, f"{user_agents.words(row.user_agent)} is signed out.")
    return redirect("sign-in" if here else "usersessions_list")
