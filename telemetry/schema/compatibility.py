"""Which changes a schema version can take without a stored array losing its meaning. Pure.

A compatible change never refuses a message that was taken before it, and never moves a stored number. So any row of
compatible changes is itself one compatible change. For everything else a new version is cut.
"""

import math
import re
from collections import Counter
from dataclasses import dataclass

MAX_METRICS = 200
"""Most metrics of one version."""
NUMBER, INTEGER, BOOLEAN, TEXT = "number", "integer", "boolean", "text"
KINDS = (NUMBER, INTEGER, BOOLEAN, TEXT)
RANGED = (NUMBER, INTEGER)
"""Kinds of which a smallest and a largest value mean something."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_MAX_LABEL, _MAX_UNIT = 100, 20


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """One value of a version, as somebody describes it."""

    name: str
    kind: str = NUMBER
    label: str = ""
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    required: bool = False

    @property
    def range(self) -> tuple[float, float]:
        """Least and largest value, both allowed; infinite where nothing is said or where a range means nothing."""
        if self.kind not in RANGED:
            return -math.inf, math.inf
        low = -math.inf if self.minimum is None else float(self.minimum)
        return low, math.inf if self.maximum is None else float(self.maximum)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What a version says: its metrics in stored order, and whether values it does not name are kept."""

    metrics: tuple[MetricSpec, ...]
    open: bool = False


@dataclass(frozen=True, slots=True)
class Violation:
    """Why a vocabulary cannot be taken, and what to do."""

    metric: str
    """Its name; empty where it is about the version."""
    attribute: str
    """Of the metric (`name`, `position`, `kind`, `unit`, `label`, `minimum`, `maximum`, `required`) or of the version
    (`open`, `metrics`)."""
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.problem} {self.remedy}"


def mistakes(wanted: Vocabulary) -> list[Violation]:
    """What no version may say, whatever came before it."""
    found = [each for metric in wanted.metrics for each in _of_one(metric)]
    names = [metric.name for metric in wanted.metrics]
    twice = [name for name, count in Counter(names).items() if count > 1]
    found += [Violation(name, "name", "Two metrics have this name.", "Give one of them another.") for name in twice]
    if len(names) > MAX_METRICS:
        told = f"{len(names)} metrics are more than a version has room for."
        found.append(Violation("", "metrics", told, f"At most {MAX_METRICS}: send the rest as another device type."))
    if not names and not wanted.open:
        found.append(Violation("", "metrics", "Nothing could be sent.", "Name a metric, or keep unnamed values."))
    return found


def _of_one(metric: MetricSpec) -> list[Violation]:
    found: list[tuple[str, str, str]] = []
    if not _NAME.fullmatch(metric.name):
        form = "A lower-case letter, then up to 62 letters, digits and _."
        found.append(("name", f"{metric.name[:63]!r} is no name for a metric.", form))
    if metric.kind not in KINDS:
        found.append(("kind", f"{metric.kind[:20]!r} is no kind.", f"One of {', '.join(KINDS)}."))
    if not 0 < len(metric.label.strip()) <= _MAX_LABEL or not metric.label.isprintable():
        found.append(("label", "People read this.", f"1 to {_MAX_LABEL} characters, on one line."))
    if len(metric.unit) > _MAX_UNIT or not metric.unit.isprintable():
        found.append(("unit", "Too long for a unit.", f"At most {_MAX_UNIT} characters, on one line."))
    for name, bound in (("minimum", metric.minimum), ("maximum", metric.maximum)):
        if bound is not None and not math.isfinite(bound):
            found.append((name, "Not a finite number.", "Leave it empty where nothing is too small or too large."))
        elif bound is not None and metric.kind not in RANGED:
            found.append((name, "Only numbers have a range.", "Leave it empty."))
    low, high = metric.range
    if low > high:
        found.append(("maximum", f"Less than the minimum ({low:g}).", "Give a larger one."))
    elif metric.kind == INTEGER and math.isfinite(low) and math.ceil(low) > high:
        found.append(("maximum", "No whole number lies between these.", "Widen the range."))
    return [Violation(metric.name, *each) for each in found]


def violations(old: Vocabulary, new: Vocabulary, next_version: int) -> list[Violation]:
    """What in `new` is no compatible change of `old`; empty where all of it is. Both must be without `mistakes`.

    `next_version` is the number of the version to cut instead.
    """
    cut = f"cut version {next_version}."
    before = {metric.name: place for place, metric in enumerate(old.metrics)}
    after = {metric.name: (place, metric) for place, metric in enumerate(new.metrics)}
    found: list[Violation] = []
    for name, place in before.items():
        if name not in after:
            told = "A stored value loses its name when a metric is removed or renamed."
            found.append(Violation(name, "name", told, f"Leave it, or {cut}"))
            continue
        now_place, now = after[name]
        if now_place != place:
            told = f"Moved from place {place} to {now_place}: stored values are found by their place."
            found.append(Violation(name, "position", told, f"Put it back, or {cut}"))
        found += [Violation(name, *each, f"Keep it, or {cut}") for each in _changed(old.metrics[place], now)]
    found += [each for metric in new.metrics if metric.name not in before for each in _added(metric, old, after, cut)]
    if old.open and not new.open:
        told = "Devices may send values that are not named, and they would be refused."
        found.append(Violation("", "open", told, f"Keep them, or {cut}"))
    return found


def _changed(old: MetricSpec, new: MetricSpec) -> list[tuple[str, str]]:
    """Attribute and problem of each change of one metric that is not compatible."""
    found = []
    if new.kind != old.kind:
        found.append(("kind", f"Was {old.kind}: what is stored would mean something else."))
    if new.unit != old.unit:
        found.append(("unit", f"Was {old.unit or 'none'}: stored numbers would mean something else."))
    if new.required and not old.required:
        found.append(("required", "Was optional: messages without it would be refused."))
    (old_low, old_high), (new_low, new_high) = old.range, new.range
    if new_low > old_low:
        found.append(("minimum", f"Was {_bound(old_low)}: smaller values would be refused."))
    if new_high < old_high:
        found.append(("maximum", f"Was {_bound(old_high)}: larger values would be refused."))
    return found


def _bound(value: float) -> str:
    return f"{value:g}" if math.isfinite(value) else "none"


def _added(metric: MetricSpec, old: Vocabulary, after: dict[str, tuple[int, MetricSpec]], cut: str) -> list[Violation]:
    found = []
    if after[metric.name][0] < len(old.metrics):
        told = "A new metric goes to the end: stored values are found by their place."
        found.append(Violation(metric.name, "position", told, f"Put it last, or {cut}"))
    if metric.required:
        told = "Devices that do not know it yet would be refused."
        found.append(Violation(metric.name, "required", told, f"Make it optional, or {cut}"))
    if old.open:
        told = "This version keeps values it does not name: devices may send this one already, in another form."
        found.append(Violation(metric.name, "name", told, cut.capitalize()))
    return found
