"""Many samples made few: one for each stretch of time, with mean, min and max of the numbers in it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from archiver.history.samples import Sample


@dataclass(frozen=True, slots=True)
class Bin:
    """The numbers from a time (Unix ns) on; ``severity`` is the worst of them, ``last`` the value at the end.

    A bin of NaN is a gap: from there on no value is known.
    """

    time: int
    mean: float
    minimum: float
    maximum: float
    first: float
    last: float
    severity: int


def bins(samples: Iterable[Sample], since: int, width: int) -> Iterator[Bin]:
    """Yield the bins that hold numbers, and gaps; ``width`` in nanoseconds, the first begins at ``since``.

    Samples before ``since`` say which severity was in force then, and whether a value was known.
    """
    numbers: list[float] = []
    begin, severity, worst, lost = since, 0, 0, False
    for sample in samples:
        start = max(begin, since + (sample.time - since) // width * width)
        if start != begin:
            yield from _bin(begin, numbers, worst)
            if lost and (not numbers or begin + width < start):
                yield _gap(begin + width if numbers else begin)
            numbers, begin, worst = [], start, _carried(severity)
        severity = severity if sample.severity is None else sample.severity
        number = float(sample.value) if isinstance(sample.value, int | float) and severity < 3 else None
        if number is not None:
            lost = False
        elif not sample.connected:  # it came back, and its value follows
            lost = True
        if sample.time < since:
            worst = _carried(severity)
        else:
            worst = max(worst, severity)
            if number is not None:
                numbers.append(number)
    yield from _bin(begin, numbers, worst)
    if lost:
        yield _gap(begin + width if numbers else begin)


def _carried(severity: int) -> int:
    """Return the severity that a bin begins with: an alarm that stands is one of it, a loss is a gap of its own."""
    return severity if severity < 3 else 0


def _gap(begin: int) -> Bin:
    return Bin(begin, math.nan, math.nan, math.nan, math.nan, math.nan, 3)


def _bin(begin: int, numbers: list[float], worst: int) -> Iterator[Bin]:
    if numbers:
        mean = math.fsum(numbers) / len(numbers)
        yield Bin(begin, mean, min(numbers), max(numbers), numbers[0], numbers[-1], worst)
