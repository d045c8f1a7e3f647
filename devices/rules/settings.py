"""A setting as an EPICS operator sees it: what was demanded, if the device says the same, and what may be set."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from devices.errors import OutOfLimits, Refused
from devices.model import DeviceSettings, Limits, SiteLimits, Value

MISMATCH_POLLS = 2  # polls that a read-back may differ from its demand


class Mismatch:
    """A demand against what the device reports: MINOR once they differ for more than two polls."""

    __slots__ = ("_polls",)

    def __init__(self) -> None:
        self._polls = 0

    def observe(self, differs: bool) -> bool:
        """Count one poll; return whether the difference has lasted."""
        self._polls = self._polls + 1 if differs else 0
        return self._polls > MISMATCH_POLLS

    def reset(self) -> None:
        """Start counting again, because the demand has just been accepted."""
        self._polls = 0


class Demand:
    """One setting: the demand is what was found first, then what users set; ``lasting`` tells of a difference."""

    __slots__ = ("_mismatch", "lasting", "value")

    def __init__(self) -> None:
        self.value: float | int | None = None
        self.lasting = False
        self._mismatch = Mismatch()

    def observe(self, found: float, step: float) -> None:
        """Take one reading of the setting; up to half a step is no difference."""
        if self.value is None:
            self.value = found
        self.lasting = self._mismatch.observe(abs(self.value - found) > 0.5001 * step)

    def accept(self, value: float) -> None:
        """Take the value that a user has set and the device has confirmed."""
        self.value = value
        self.link_lost()

    def link_lost(self) -> None:
        """Start counting again; the demand stays."""
        self.lasting = False
        self._mismatch.reset()


def number_asked(what: str, value: Value) -> float:
    """Return a demanded number; raises OutOfLimits for what is none."""
    if isinstance(value, (str, tuple)) or not math.isfinite(value):
        raise OutOfLimits(f"{what}: {value!r} is not a number")
    return float(value)


def choice_asked(what: str, value: Value, labels: tuple[str, ...]) -> int:
    """Return a demanded choice as its index; raises OutOfLimits for what is none."""
    if isinstance(value, (str, tuple)) or value not in range(len(labels)):
        raise OutOfLimits(f"{what}: {value!r} is none of {', '.join(labels)}")
    return int(value)


def tightened(limits: Limits, sites: Iterable[SiteLimits], suffix: str, whose: str = "site limit") -> Limits:
    """Return the limits of a setting, each side that the site has tighter moved there; ``whose`` names the site."""
    for site in sites:
        if suffix in site:
            low, high = site[suffix]
            if low > limits.low:
                limits = replace(limits, low=low, low_from=whose)
            if high < limits.high:
                limits = replace(limits, high=high, high_from=whose)
    return limits


def check_writable(settings: DeviceSettings) -> None:
    """Raise Refused when the site file forbids writing to a device."""
    if settings.readonly:
        raise Refused("writes to this device are switched off by the configuration")


def check_limits(what: str, number: float, unit: str, limits: Limits) -> None:
    """Raise OutOfLimits with a sentence when a demanded number is outside the limits in force."""
    asked = f"{what} {number:.10g} {unit}".rstrip()
    if number > limits.high:
        raise OutOfLimits(f"{asked} is above {limits.high:.10g} {unit} ({limits.high_from})")
    if number < limits.low:
        raise OutOfLimits(f"{asked} is below {limits.low:.10g} {unit} ({limits.low_from})")
