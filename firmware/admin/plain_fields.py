"""Form fields in the words of people: rates in percent, durations as `30 min`, words with commas between them."""

import re
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminTextareaWidget, AdminTextInputWidget

_UNITS = {"d": 86_400, "h": 3_600, "min": 60, "s": 1}
_NAMES = {
    "d": ("d", "day", "days"),
    "h": ("h", "hour", "hours", "hr", "hrs"),
    "min": ("min", "mins", "minute", "minutes", "m"),
    "s": ("s", "sec", "secs", "second", "seconds"),
}
_SECONDS = {name: _UNITS[unit] for unit, names in _NAMES.items() for name in names}
_PART = re.compile(r"([0-9]{1,9})\s*([a-z]+)[\s,]*")
_POINTS = 100
"""Basis points in one percent."""
HOW = "Write it as 45 s, 30 min, 1 h 30 min or 2 d."


def say_duration(length: timedelta) -> str:
    """`1 h 30 min`; seconds are the smallest unit, and nothing is `0 s`."""
    seconds, parts = int(length.total_seconds()), []
    for unit, size in _UNITS.items():
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts) or "0 s"


def read_duration(text: str) -> timedelta:
    """What somebody wrote. Raises ValueError, with a text for people."""
    told = text.strip().lower()
    if told == "0":
        return timedelta()
    at, seconds = 0, 0
    while at < len(told):
        part = _PART.match(told, at)
        if part is None or part[2] not in _SECONDS:
            raise ValueError(HOW)
        seconds += int(part[1]) * _SECONDS[part[2]]
        at = part.end()
    if not told:
        raise ValueError(HOW)
    return timedelta(seconds=min(seconds, 10**9))


def say_percent(points: int) -> str:
    """Basis points as percent, with the digits they need: `2`, `0.5`, `12.25`."""
    return f"{points / _POINTS:.2f}".rstrip("0").rstrip(".")


class FriendlyDurationField(forms.CharField):
    """A duration with its unit. Never negative; `least` and `most` are judged, too."""

    widget = AdminTextInputWidget

    def __init__(self, *, least: timedelta = timedelta(), most: timedelta = timedelta(days=365), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.least, self.most = least, most

    def widget_attrs(self, widget: forms.Widget) -> dict[str, Any]:
        """Short, and no keyboard that offers numbers alone."""
        return {**super().widget_attrs(widget), "size": "12", "class": "short-text", "autocomplete": "off"}

    def prepare_value(self, value: Any) -> Any:
        """As people write it."""
        return say_duration(value) if isinstance(value, timedelta) else value

    def clean(self, value: Any) -> Any:
        """A timedelta."""
        text = super().clean(value)
        if text in self.empty_values:
            return None
        try:
            length = read_duration(text)
        except ValueError as error:
            raise forms.ValidationError(str(error), code="invalid") from error
        if not self.least <= length <= self.most:
            bounds = f"between {say_duration(self.least)} and {say_duration(self.most)}"
            raise forms.ValidationError(f"It must be {bounds}.", code="bounds")
        return length

    def has_changed(self, initial: Any, data: Any) -> bool:
        """`60 s` is no other than `1 min`."""
        try:
            return bool(self.clean(data) != initial)
        except forms.ValidationError:
            return True


class PercentField(forms.DecimalField):
    """A rate in percent with at most two decimals, kept in basis points."""

    def __init__(self, *, most: str = "100", **kwargs: Any) -> None:
        super().__init__(min_value=Decimal(0), max_value=Decimal(most), max_digits=5, decimal_places=2, **kwargs)

    def widget_attrs(self, widget: forms.Widget) -> dict[str, Any]:
        """Narrow, with the keyboard for numbers."""
        return {**super().widget_attrs(widget), "inputmode": "decimal", "class": "short-number"}

    def prepare_value(self, value: Any) -> Any:
        """From basis points; what somebody typed stays as typed."""
        return say_percent(value) if isinstance(value, int) else value

    def clean(self, value: Any) -> Any:
        """Basis points."""
        percent = super().clean(value)
        return None if percent is None else int(percent * _POINTS)

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Compared in basis points."""
        try:
            return bool(self.clean(data) != initial)
        except forms.ValidationError:
            return True


class WordsField(forms.CharField):
    """Several words in one line, with commas between them; each is kept once, in the order given."""

    widget = AdminTextareaWidget

    def __init__(self, *, longest: int, **kwargs: Any) -> None:
        kwargs.setdefault("widget", AdminTextareaWidget(attrs={"rows": 2}))
        super().__init__(required=False, **kwargs)
        self.longest = longest

    def prepare_value(self, value: Any) -> Any:
        """One line."""
        return ", ".join(value) if isinstance(value, list) else value

    def clean(self, value: Any) -> Any:
        """A list of words."""
        found = dict.fromkeys(part.strip() for part in re.split(r"[,\r\n]+", super().clean(value)))
        words = [word for word in found if word]
        long = [word for word in words if len(word) > self.longest]
        if long:
            raise forms.ValidationError(f"Longer than {self.longest} characters: {long[0][:40]}…")
        return words

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Compared word by word."""
        try:
            return bool(self.clean(data) != list(initial or []))
        except forms.ValidationError:
            return True
