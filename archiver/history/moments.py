"""Times as people write and read them: ``1h``, ``2026-01-31T12:00``, and local time with its zone."""

from __future__ import annotations

import re
from datetime import datetime

_NS = 1_000_000_000
_LATEST = (1 << 63) - 1
"""What 64 bits of nanoseconds reach, and a database keeps."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604_800}


def parse_moment(text: str, now_ns: int) -> int:
    """Read ``1h`` (so long ago; s, m, h, d, w), or a date and time of ISO 8601 (local without a zone), as Unix ns.

    Raises ValueError, also for what lies not between the years 1970 and 2262.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text)
    try:
        if match:
            time = now_ns - round(float(match[1]) * _UNITS[match[2]] * _NS)
        else:
            time = round(datetime.fromisoformat(text).astimezone().timestamp() * 1_000_000) * 1000
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is neither a time like 90s, 1h or 7d nor a date like 2026-01-31T12:00") from None
    if not 0 <= time <= _LATEST:
        raise ValueError(f"{text!r} lies not between the years 1970 and 2262")
    return time


def moments(since: str, until: str, now_ns: int) -> tuple[int, int]:
    """Read the two ends of a stretch of time as Unix ns, an empty ``until`` as now. Raises ValueError."""
    begin = parse_moment(since, now_ns)
    end = parse_moment(until, now_ns) if until else now_ns
    if begin >= end:
        raise ValueError(f"nothing lies between {local(begin)} ({since}) and {local(end)} ({until or 'now'})")
    return begin, end


def local(time: int) -> str:
    """Write Unix nanoseconds as local time with its offset, every digit kept."""
    moment = datetime.fromtimestamp(time // _NS).astimezone().isoformat(sep=" ")
    return f"{moment[:19]}.{time % _NS:09d}{moment[19:]}"


def zone(time: int) -> str:
    """Return name and offset of the local zone at a time: ``CET (UTC+01:00)``."""
    moment = datetime.fromtimestamp(time // _NS).astimezone()
    return f"{moment.tzname()} (UTC{moment.isoformat()[19:]})"
