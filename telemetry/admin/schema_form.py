"""The form of a schema version: its metrics as rows, and what can be changed of them. Mistakes stand at their field."""

from collections.abc import Iterable, Mapping
from typing import Any

from django import forms

from telemetry.models import Metric
from telemetry.schema.compatibility import MAX_METRICS, RANGED, MetricSpec, Violation, Vocabulary

_MORE_ROWS = 3
_MAX_ROWS = MAX_METRICS + 50
"""Rows beyond what a version holds, so that too many can be typed, said so, and kept."""
_TYPED = ("name", "label", "unit", "minimum", "maximum")


class MetricForm(forms.Form):
    """One metric. What gives stored numbers their meaning is text, once a version is made."""

    use_required_attribute = False
    place = forms.IntegerField(required=False, min_value=1, max_value=9999)
    name = forms.CharField(required=False, max_length=63, widget=forms.TextInput({"size": 18, "spellcheck": "false"}))
    kind = forms.ChoiceField(choices=Metric.Kind, initial=Metric.Kind.NUMBER)
    label = forms.CharField(required=False, max_length=100, widget=forms.TextInput({"size": 18}))
    unit = forms.CharField(required=False, max_length=20, widget=forms.TextInput({"size": 5}))
    # Browsers send nothing for what is no number in a number field, and nothing means any value.
    minimum = forms.FloatField(required=False, widget=forms.TextInput({"size": 7, "inputmode": "decimal"}))
    maximum = forms.FloatField(required=False, widget=forms.TextInput({"size": 7, "inputmode": "decimal"}))
    required = forms.BooleanField(required=False)
    remove = forms.BooleanField(required=False)

    def __init__(self, *args: Any, kept: bool, cutting: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.kept = kept
        """Is it a metric of a version that is there already?"""
        self.ranged = not kept or self.initial["kind"] in RANGED
        self.kind_told = Metric.Kind(self.initial["kind"]).label if kept else ""
        for name in ("name", "kind", "unit", *(() if self.ranged else ("minimum", "maximum"))) if kept else ():
            self.fields[name].disabled = True
        for name in () if cutting else ("place", "remove"):
            del self.fields[name]
        self.may_require = cutting or (kept and bool(self.initial.get("required")))
        if not self.may_require:
            del self.fields["required"]
        for name, field in self.fields.items():
            field.widget.attrs["aria-label"] = name.capitalize()

    def is_blank(self) -> bool:
        """Nothing was typed, or it is to go."""
        data = self.cleaned_data
        return bool(data.get("remove")) or not (self.kept or any(data.get(name) not in {"", None} for name in _TYPED))

    def spec(self) -> MetricSpec:
        """The metric that is meant."""
        data = self.cleaned_data
        return MetricSpec(
            data["name"],
            data["kind"],
            data["label"],
            data["unit"],
            data["minimum"],
            data["maximum"],
            bool(data.get("required")),
        )


class HeadForm(forms.Form):
    """What is asked about the version as a whole."""

    open = forms.BooleanField(required=False, label="Keep values that no metric names")
    reason = forms.CharField(required=False, max_length=200, label="Why")
    revision = forms.IntegerField(min_value=0, max_value=2**31 - 1)
    """Of the version when the page was made; where one is cut, its number."""
    rows = forms.IntegerField(min_value=0, max_value=_MAX_ROWS)
    known = forms.IntegerField(min_value=0, max_value=_MAX_ROWS)
    """How many of the rows were metrics of the version when the page was made."""


class Editor:
    """All forms of one page. `cutting` a new version, everything can be changed; else only what is compatible."""

    def __init__(
        self,
        base: Vocabulary,
        revision: int,
        *,
        cutting: bool,
        data: Mapping[str, Any] | None = None,
        shown: Vocabulary | None = None,
        reason: str = "",
    ) -> None:
        """`base` is what is saved; `shown` what stands in the fields instead, kept metrics first."""
        self.base, self.cutting = base, cutting
        head = HeadForm(data)
        self.missing = data is not None and not head.is_valid()
        """The page's own hidden fields are not what it sent: nothing can be read from it."""
        self._bound = data if not self.missing else None
        shown = shown or base
        self.revision, count, known = revision, len(shown.metrics), len(base.metrics)
        if self._bound is not None:
            told = head.cleaned_data
            self.revision, count, known = told["revision"], told["rows"], min(told["known"], known)
        self.known = 0 if cutting else known
        self.head = HeadForm(self._bound, initial={"open": shown.open, "reason": reason})
        self.rows = [
            MetricForm(
                self._bound,
                prefix=f"metric-{number}",
                initial=_initial(number, shown if self._bound is None else base),
                kept=number < self.known,
                cutting=cutting,
            )
            for number in range(max(count, self.known))
        ]
        self.fresh = MetricForm(prefix="metric-__number__", kept=False, cutting=cutting)
        """A row to be copied by the script."""

    def is_valid(self) -> bool:
        """Are all fields what they must be, each by itself?"""
        return self._bound is not None and self.head.is_valid() and all(row.is_valid() for row in self.rows)

    def lacks_reason(self) -> bool:
        """Nothing is saved without one; to try something needs none. Only where `is_valid`."""
        lacks = not self.head.cleaned_data["reason"].strip()
        if lacks:
            self.head.add_error("reason", "Say why: it becomes evidence.")
        return lacks

    def wanted(self) -> Vocabulary:
        """What was typed, in the order that was typed. Only where `is_valid`."""
        rows = [row for row in self.rows if not row.is_blank()]
        if self.cutting:
            rows.sort(key=lambda row: row.cleaned_data["place"] or _MAX_ROWS + 1)
        return Vocabulary(tuple(row.spec() for row in rows), bool(self.head.cleaned_data["open"]))

    def say(self, found: Iterable[Violation]) -> None:
        """Put what is wrong where it is wrong. Only where `is_valid`."""
        rows = {row.spec().name: row for row in self.rows if not row.is_blank()}
        for each in found:
            row = rows.get(each.metric) if each.attribute not in {"open", "metrics"} else None
            if row:
                row.add_error(each.attribute if each.attribute in row.fields else "name", str(each))
            else:
                self.head.add_error("open" if each.attribute == "open" else None, str(each))

    def with_more_rows(self, data: Any) -> "Editor":
        """The same with some rows more to type in."""
        told = data.copy()
        told["rows"] = str(min(len(self.rows) + _MORE_ROWS, _MAX_ROWS))
        for number in range(len(self.rows), int(told["rows"])):
            told[f"metric-{number}-kind"] = str(Metric.Kind.NUMBER)
        return Editor(self.base, self.revision, cutting=self.cutting, data=told)

    def upon(self, base: Vocabulary, revision: int) -> "Editor":
        """What was typed, upon what somebody else made of the version meanwhile. Only where `is_valid`."""
        typed = [row.spec() for row in self.rows if row.kept or not row.is_blank()]
        metrics = (*typed[: self.known], *base.metrics[self.known :], *typed[self.known :])
        shown = Vocabulary(metrics, self.wanted().open or base.open)
        reason = self.head.cleaned_data["reason"]
        return Editor(base, revision, cutting=self.cutting, shown=shown, reason=reason)


def _initial(number: int, shown: Vocabulary) -> dict[str, Any]:
    if number >= len(shown.metrics):
        return {}
    metric = shown.metrics[number]
    values = {name: getattr(metric, name) for name in (*_TYPED, "kind", "required")}
    for name in ("minimum", "maximum"):
        if values[name] is not None and float(values[name]).is_integer() and abs(values[name]) < 2**53:
            values[name] = int(values[name])
    return values | {"place": number + 1}
