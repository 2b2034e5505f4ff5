"""Customers' list of devices, and the searches of it that somebody keeps."""

from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Page, Paginator
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from devices.people import access, saved_views
from devices.people.saved_views import ViewRefused
from devices.people.scopes import DEVICES_WRITE
from fleetportal import device_rows
from fleetportal.device_rows import Search

PAGE_SIZE = 25
USUAL = [
    ("All", ""),
    ("Online", "state=online"),
    ("Offline", "state=offline"),
    ("Silent", "state=silent"),
    ("Updating", "state=updating"),
    ("Update failed", "state=failed"),
    ("Certificate ends", "state=ending"),
]
"""Views that everybody has."""


@never_cache
@login_required
@require_safe
def device_list(request: HttpRequest) -> HttpResponse:
    """All my devices: searched, filtered, a page at a time."""
    search, user = Search.of(request.GET), request.user
    found = device_rows.found(search, user, timezone.now()).values_list("pk", flat=True)
    page: Page[Any] = Paginator(found, PAGE_SIZE).get_page(request.GET.get("page"))
    page.object_list = device_rows.page_of(page.object_list, user)
    query = urlencode({name: value for name, value in search.told().items() if value})
    context = {
        "page": page,
        "search": search,
        "query": query,
        "usual": [(name, each, each == query) for name, each in USUAL],
        "preset": query in dict(USUAL).values(),
        "saved": [(row, row.query == query) for row in saved_views.of(user, reverse("device-list"))],
        "may_add": access.tenants(user, DEVICES_WRITE).exists(),
        **device_rows.choices(user),
    }
    return render(request, "customers/device_list.html", context)


@never_cache
@login_required
@require_POST
def view_save(request: HttpRequest) -> HttpResponse:
    """Keep this search under a name."""
    query = request.POST.get("query", "")
    try:
        row = saved_views.save(request.user, reverse("device-list"), request.POST.get("name", ""), query)
        messages.success(request, f"Saved as “{row.name}”.")
    except ViewRefused as error:
        messages.error(request, error.detail)
    return _to_list(saved_views.kept(query))


@never_cache
@login_required
@require_POST
def view_remove(request: HttpRequest, pk: int) -> HttpResponse:
    """Forget one of one's own."""
    row = saved_views.remove(request.user, pk)
    if row is None:
        raise Http404
    messages.success(request, f"“{row.name}” was removed.")
    return _to_list("")


def _to_list(query: str) -> HttpResponse:
    page = reverse("device-list")
    return HttpResponseRedirect(f"{page}?{query}" if query else page)
