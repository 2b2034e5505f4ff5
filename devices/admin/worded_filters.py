"""Filters at the side of a list in words of people: `State: open`, not `Resolved at: empty`."""

from collections.abc import Callable, Iterator
from typing import Any

from django.contrib import admin

Words = Callable[[Any], str]


def worded(base: type[admin.FieldListFilter], label: str, words: tuple[str, ...] | Words) -> type[Any]:
    """A filter of Django's with other words.

    `words`: those of its choices in their order, after *All*; or what puts a choice's own text into words.
    """

    class Worded(base):  # type: ignore[misc, valid-type]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.title = label

        def choices(self, changelist: Any) -> Iterator[Any]:
            first, *others = super().choices(changelist)
            yield first
            for place, each in enumerate(others):
                if callable(words):
                    yield each | {"display": words(each["display"])}
                else:
                    yield each | {"display": words[place] if place < len(words) else each["display"]}

    return Worded


def empty(label: str, without: str, filled: str) -> type[Any]:
    """By whether a field stands empty."""
    return worded(admin.EmptyFieldListFilter, label, (without, filled))


def either(label: str, yes: str, no: str) -> type[Any]:
    """By a field that is true or not."""
    return worded(admin.BooleanFieldListFilter, label, (yes, no))
