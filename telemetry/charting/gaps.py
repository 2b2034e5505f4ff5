"""Where a chart breaks its line: silences much longer than usual. Pure. All times are epoch ms."""

from bisect import bisect_left
from itertools import pairwise
from statistics import median

_PATIENCE = 3


def silences(times: list[int], counts: list[int], step: int) -> list[tuple[int, int]]:
    """Stretches without a value, each from the end of a bucket that has one to the start of the next that has.

    `counts` are the values in each bucket, 0 for none. A stretch counts when it surely lasted `step` and three times
    the usual interval: the time between two values, or where buckets hold several the bucket's share for each.
    """
    held = [time for time, count in zip(times, counts, strict=True) if count]
    if len(held) < 2:
        return []
    usual = median(b - a for a, b in pairwise(held)) / median(count for count in counts if count)
    limit = max(_PATIENCE * usual, step)
    return [(a + step, b) for a, b in pairwise(held) if b - a - step >= limit]


def filled(times: list[int], gaps: list[tuple[int, int]]) -> list[int]:
    """The times (in order), with the first moment of each gap that holds none of them."""
    empty = {start for start, end in gaps if bisect_left(times, start) == bisect_left(times, end)}
    return sorted(empty.union(times))
