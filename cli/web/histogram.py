"""Histogram: when the photos of an answer were taken, in days, months or years."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

MOST_BARS = 40


class Bar(NamedTuple):
    """The photos of one day, month or year.

    Attributes:
        start, end: dates as filters take them, "2023-05"; the end is the next bar's start.
        photos: so many.
        height: share of the highest bar.
    """

    start: str
    end: str
    photos: int
    height: float


def histogram(moments: Iterable[datetime]) -> list[Bar]:
    """Bars from the first to the last moment, those without photos too; none without moments."""
    known = sorted(moments)
    if not known:
        return []
    first, last = known[0], known[-1]
    days = (last.date() - first.date()).days + 1
    if days <= MOST_BARS:
        return _bars(known, "day")
    months = 12 * (last.year - first.year) + last.month - first.month + 1
    return _bars(known, "month" if months <= MOST_BARS else "year")


def _bars(moments: list[datetime], unit: str) -> list[Bar]:
    counts = Counter(_start(moment, unit) for moment in moments)
    start, last = _start(moments[0], unit), _start(moments[-1], unit)
    highest = max(counts.values())
    bars = []
    while start <= last:
        end = _next(start, unit)
        count = counts[start]
        bars.append(Bar(_text(start, unit), _text(end, unit), count, count / highest))
        start = end
    return bars


def _start(moment: datetime, unit: str) -> datetime:
    month = 1 if unit == "year" else moment.month
    return datetime(moment.year, month, moment.day if unit == "day" else 1)


def _next(start: datetime, unit: str) -> datetime:
    if unit == "year":
        return start.replace(year=start.year + 1)
    if unit == "month":
        return datetime(start.year + start.month // 12, start.month % 12 + 1, 1)
    return datetime.fromordinal(start.toordinal() + 1)


def _text(start: datetime, unit: str) -> str:
    return start.strftime({"year": "%Y", "month": "%Y-%m", "day": "%Y-%m-%d"}[unit])
