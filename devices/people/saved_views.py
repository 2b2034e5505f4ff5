"""Searches of a list that somebody keeps: the staff's lists and the customers' alike. Each is one person's."""

from typing import Any
from urllib.parse import parse_qsl, urlencode

from django.db import transaction

from devices.errors import DomainError
from devices.models import SavedView

MOST = 20
"""Views somebody keeps of one list."""
_NAME, _QUERY, _PAGE = 60, 1000, 200
_PASSING = {"p", "e", "_popup", "_to_field", "_facets", "cursor", "page"}
"""What belongs to a moment and not to a search."""


class ViewRefused(DomainError):
    """A view that cannot be kept."""

    code = "view_refused"
    status = 400


def kept(query: str) -> str:
    """What of an address is worth keeping: the search, the filters and the order, without the page one was on."""
    pairs = parse_qsl(query.removeprefix("?"), keep_blank_values=False)
    return urlencode([(name, value) for name, value in pairs if name not in _PASSING])


def of(user: Any, page: str) -> list[SavedView]:
    """Somebody's views of a list, by name."""
    return list(SavedView.objects.visible_to(user).filter(page=page).order_by("name")[:MOST])


@transaction.atomic
def save(user: Any, page: str, name: str, query: str) -> SavedView:
    """Keep a search under a name; the same name again means the new search. Raises `ViewRefused`."""
    name, query = " ".join(name.replace("\0", "").split()), kept(query.replace("\0", ""))
    if not name:
        raise ViewRefused("Give the view a name.")
    if len(name) > _NAME:
        raise ViewRefused(f"A name has at most {_NAME} characters.")
    if not query:
        raise ViewRefused("Search or filter first: a view is what you chose.")
    if len(query) > _QUERY or len(page) > _PAGE:
        raise ViewRefused("This search is too long to be kept.")
    mine = SavedView.objects.visible_to(user).filter(page=page)
    if mine.exclude(name=name).count() >= MOST:
        raise ViewRefused(f"You keep {MOST} views of this list: remove one first.")
    row, _made = SavedView.objects.update_or_create(user=user, page=page, name=name, defaults={"query": query})
    return row


def remove(user: Any, pk: int) -> SavedView | None:
    """Forget one; None where this person has none of this number."""
    row = SavedView.objects.visible_to(user).filter(pk=pk).first()
    if row:
        SavedView.objects.filter(pk=row.pk).delete()
    return row
