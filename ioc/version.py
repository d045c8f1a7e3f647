"""The release that runs."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def release() -> str:
    """Return the version of labioc, or ``unknown`` when it isn't installed."""
    try:
        return version("labioc")
    except PackageNotFoundError:
        return "unknown"
