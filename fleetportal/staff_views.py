"""What every list of the admin has beside its rows: views that somebody saved."""

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import Resolver404, resolve
from django.views.decorators.http import require_POST

from devices.people import saved_views
from devices.people.saved_views import ViewRefused

_LIST = "_changelist"


def is_list(path: str) -> bool:
    """Is this the address of a list of the admin?"""
    try:
        found = resolve(path)
    except Resolver404:
        return False
    return found.app_names == ["admin"] and (found.url_name or "").endswith(_LIST)


@require_POST
def save(request: HttpRequest) -> HttpResponse:
    """Keep what the list shows now."""
    page, query = request.POST.get("page", ""), request.POST.get("query", "")
    if not is_list(page):
        raise Http404
    try:
        row = saved_views.save(request.user, page, request.POST.get("name", ""), query)
    except ViewRefused as error:
        messages.error(request, error.detail)
        query = saved_views.kept(query)
    else:
        messages.success(request, f"Saved as {row.name}.")
        query = row.query
    return HttpResponseRedirect(f"{page}?{query}" if query else page)


@require_POST
def remove(request: HttpRequest, pk: int) -> HttpResponse:
    """Forget one of one's own."""
    row = saved_views.remove(request.user, pk)
    if row is None:
        raise Http404
    messages.success(request, f"{row.name} is forgotten.")
    return HttpResponseRedirect(row.page if is_list(row.page) else "/admin/")
