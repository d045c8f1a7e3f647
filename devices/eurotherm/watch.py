"""Alarms of a furnace that take several readings: slope, deviation, heater without effect. No I/O and no clock.

All times are monotonic seconds, temperatures in C, outputs in percent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from statistics import linear_regression
from typing import Any

from devices.model import Cause, Level
from devices.rules.hv_channel import Lasting

SLOPE_SECONDS = 60.0  # the time over which the slope is taken
SLOPE_LEAST = 10.0  # seconds of readings without which there is none
FULL_OUTPUT = 99.95  # percent
LOST_HEAT = 300.0  # seconds at full output with falling temperature that are a MAJOR alarm

Alarm = tuple[Level, Cause]
FINE: Alarm = (Level.OK, Cause.NONE)


class FurnaceWatch:
    """Alarms that depend on more than one reading; one for each connection.

    ``slope`` is that of a straight line through the temperatures of the last minute, in C per minute; None as long as
    there are too few.
    ``options`` are those of the site file: thresholds of the deviation and of the slope, and when a furnace is settled.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.slope: float | None = None
        self._points: deque[tuple[float, float]] = deque()
        self._thresholds: tuple[float | None, float | None] = options.get("deviation") or (None, None)
        self._slope_limit: float | None = options.get("slope_limit")
        self._settle = float(options.get("settle", 600.0))
        self._band, self._band_time = float(options.get("settled_band", 2.0)), float(options.get("settled_time", 60.0))
        self._heat = Lasting()
        self._steady = Lasting()
        self._within = Lasting()
        self._last: float | None = None  # what was last seen of the working setpoint
        self.settled: bool | None = None
        self.slope_alarm: Alarm = FINE
        self.deviation_alarm: Alarm = FINE
        self.output_alarm: Alarm = FINE

    def observe(
        self, now: float, temp: float | None, working: float | None, output: float | None, controlling: bool
    ) -> None:
        """Take one scan; ``controlling`` is False in manual and in standby, when a deviation means nothing."""
        self._observe_slope(now, temp)
        self._observe_deviation(now, temp, working, controlling)
        self._observe_output(now, output)

    def _observe_slope(self, now: float, temp: float | None) -> None:
        if temp is None:  # as between two connections: it begins anew
            self._points.clear()
        else:
            self._points.append((now, temp))
            while self._points[0][0] < now - SLOPE_SECONDS:
                self._points.popleft()
        self.slope, self.slope_alarm = None, FINE
        if self._points and self._points[-1][0] - self._points[0][0] >= SLOPE_LEAST:
            moments, temps = zip(*self._points, strict=True)
            self.slope = 60.0 * linear_regression(moments, temps).slope
            if self._slope_limit is not None and abs(self.slope) > self._slope_limit:
                self.slope_alarm = (Level.MAJOR, Cause.HIHI if self.slope > 0 else Cause.LOLO)

    def _observe_deviation(self, now: float, temp: float | None, working: float | None, controlling: bool) -> None:
        steady = controlling and working is not None and working == self._last
        self._last = working
        difference = None if temp is None or working is None else temp - working
        within = steady and difference is not None and abs(difference) <= self._band
        lasted = self._within.seconds(within, now) >= self._band_time
        self.settled = None if difference is None else within and lasted
        counts = self._steady.seconds(steady, now) >= self._settle and steady
        self.deviation_alarm = self._deviation(difference) if counts and difference is not None else FINE

    def _deviation(self, difference: float) -> Alarm:
        minor, major = self._thresholds
        if major is not None and abs(difference) > major:
            return Level.MAJOR, Cause.HIHI if difference > 0 else Cause.LOLO
        if minor is not None and abs(difference) > minor:
            return Level.MINOR, Cause.HIGH if difference > 0 else Cause.LOW
        return FINE

    def _observe_output(self, now: float, output: float | None) -> None:
        """Full output and a temperature that only falls: the heater or its supply is gone."""
        falling = output is not None and output >= FULL_OUTPUT and (self.slope or 0.0) < 0
        lasting = self._heat.seconds(falling, now)
        self.output_alarm = (Level.MAJOR, Cause.STATE) if lasting >= LOST_HEAT else FINE
