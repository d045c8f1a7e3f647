"""Limits in force, resolution and decimals of a CAEN setting, from what the unit and the site file say."""

from __future__ import annotations

import math

from devices.caen.catalogue import CHANNEL, SETTINGS, TRIP_INFINITE, Setting
from devices.caen.unit import CaenUnit
from devices.model import DeviceSettings, Limits
from devices.rules.settings import tightened

LOW_RANGE = 1  # index of LOW among the words of IMRANGE
LONGEST_TRIP = 999.9  # s, highest finite trip time of the family

MOVED_BY = {"VSET": "MAXV", "ISET": "IMRANGE"}
"""Settings whose limit depends on another setting, and on which."""


class ChannelLimits:
    """The rules of one channel; every method answers from what has been read so far."""

    def __init__(self, unit: CaenUnit, channel: int, settings: DeviceSettings) -> None:
        self._unit = unit
        self._channel = channel
        self._known = unit.cells[channel]
        self._site = settings.limits_of(channel)

    def _first(self, parameters: tuple[str, ...]) -> tuple[float, str] | None:
        """Return the value of the first of these parameters that is known, and its name."""
        for parameter in parameters:
            cell = self._known.get(parameter)
            if cell is not None and not isinstance(cell.value, str):
                return float(cell.value), parameter
        return None

    def low_range(self) -> bool:
        """Whether the current meter is in its low range."""
        cell = self._known.get("IMRANGE")
        return cell is not None and cell.value == LOW_RANGE

    def _highest(self, setting: Setting) -> tuple[str, ...]:
        if setting.suffix != "ISET":
            return setting.high
        return ("IMAXL", "IMAX") if self.low_range() else ("IMAXH", "IMAX")

    def of_unit(self, setting: Setting) -> tuple[float, float] | None:
        """Return the range that the unit itself gives a setting, None while it is not known."""
        low, high = self._first(setting.low), self._first(self._highest(setting))
        return None if high is None else (low[0] if low else 0.0, high[0])

    def site_high(self, suffix: str) -> float:
        """Return the highest value that the site allows, infinite when it does not limit it."""
        return tightened(Limits(-math.inf, math.inf), self._site, suffix).high

    def beyond_site(self, suffix: str, value: float) -> bool:
        """Whether a value that the unit holds is outside what the site allows, by more than half a step."""
        hair = 0.5001 * self.resolution(suffix)
        site = tightened(Limits(-math.inf, math.inf), self._site, suffix)
        return not site.low - hair <= value <= site.high + hair

    def limits(self, setting: Setting) -> Limits | None:
        """Return the tightest of device, MAXV and site; a side without a limit is infinite (the low one 0).

        None while the setting, or what limits it, has not been read; what this firmware does not know is left out.
        """
        highest, moved_by = self._highest(setting), MOVED_BY.get(setting.suffix)
        for name in (setting.wire, *setting.low, *highest, *([moved_by] if moved_by else ())):
            if name not in self._known and not self._unit.settled(name, self._channel):
                return None
        low, low_from = 0.0, "lowest possible"
        high, high_from = math.inf, "no limit"
        if (own := self._first(setting.low)) is not None:
            low, low_from = own[0], f"device {own[1]}"
        if (own := self._first(highest)) is not None:
            high, high_from = own[0], f"device {own[1]}"
        if setting.suffix == "TRIPTIME" and LONGEST_TRIP <= high < TRIP_INFINITE:
            high = TRIP_INFINITE  # a unit may tell its longest finite time; "never" is allowed beyond it
        if setting.suffix == "VSET" and (own := self._first(("MAXV",))) is not None and own[0] < high:
            high, high_from = own[0], "MAXV"
        return tightened(Limits(low, high, low_from, high_from), self._site, setting.suffix)

    def decimals(self, suffix: str) -> int | None:
        """Return the decimals that the unit shows for a quantity given by its suffix, None when it does not tell."""
        parameters: tuple[str, ...]
        if suffix == "IMON":
            parameters = ("IMDECL" if self.low_range() else "IMDECH", "IMDEC")
        elif suffix in SETTINGS:
            parameters = SETTINGS[suffix].decimals
        else:
            parameters = CHANNEL[suffix].decimals
        found = self._first(parameters)
        return None if found is None or not 0 <= found[0] <= 9 else int(found[0])

    def resolution(self, suffix: str) -> float:
        """Return the smallest step of a quantity given by its suffix, in its own unit."""
        if suffix == "VMON":
            parameters: tuple[str, ...] = ("VMRES",)
        elif suffix == "IMON":
            parameters = ("IMRESL" if self.low_range() else "IMRESH",)
        else:
            parameters = SETTINGS[suffix].resolution
        found = self._first(parameters)
        if found is not None and found[0] > 0:
            return found[0]
        decimals = self.decimals(suffix)
        if decimals is None:
            decimals = CHANNEL[suffix].digits
        return float(f"1e-{decimals}")

    def low_range_end(self) -> float | None:
        """Return the full scale of the low current range in uA, None when it is not known."""
        end = self._first(("IMAXL", "IMAX"))
        # Profile B has one IMAX; its low range is a tenth of the full one (NDT14xx manual, UM2027).
        return end and end[0] / (1 if end[1] == "IMAXL" else 10)
