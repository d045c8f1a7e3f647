"""What a simulated Eurotherm 3200 controls, and with what: a furnace and a PID controller; no clock.

The furnace is a thermal mass with a heater and a loss proportional to the temperature above ambient, and a
thermocouple that lags behind.
"""

from __future__ import annotations

import math


def approach(value: float, goal: float, step: float) -> float:
    """Move value towards goal by at most step."""
    return min(goal, value + step) if goal > value else max(goal, value - step)


class Furnace:
    """A furnace; everything a test needs is an attribute.

    ``watts`` at full power, ``heat_capacity`` in J/K, ``loss`` in W/K, ``lag`` of the thermocouple in seconds,
    ``ambient`` and ``temperature`` in C. ``heater_broken``: the heater draws no current.
    """

    __slots__ = ("ambient", "heat_capacity", "heater_broken", "lag", "loss", "measured", "temperature", "watts")

    def __init__(self, temperature: float = 25.0) -> None:
        self.temperature = self.measured = temperature
        self.ambient, self.watts, self.loss, self.heat_capacity, self.lag = 25.0, 3000.0, 2.0, 3000.0, 5.0
        self.heater_broken = False

    def step(self, dt: float, percent: float) -> None:
        """Advance by dt seconds with this output, which is exact for any dt."""
        watts = 0.0 if self.heater_broken else self.watts * percent / 100.0
        settled = self.ambient + watts / self.loss
        self.temperature = settled + (self.temperature - settled) * math.exp(-dt * self.loss / self.heat_capacity)
        self.measured = self.temperature + (self.measured - self.temperature) * math.exp(-dt / self.lag)


class Pid:
    """A PID controller with the derivative of the measured value and an integral that stops at the limits."""

    __slots__ = ("_before", "_integral")

    def __init__(self) -> None:
        self._integral = 0.0
        self._before: float | None = None

    def track(self, output: float, setpoint: float, value: float, band: float) -> None:
        """Follow an output that is set by hand, so that taking over is bumpless."""
        self._integral = output - 100.0 * (setpoint - value) / band
        self._before = value

    def step(
        self, dt: float, setpoint: float, value: float, terms: tuple[float, float, float], limits: tuple[float, float]
    ) -> float:
        """Return the output in percent; ``terms`` are band, integral and derivative time (0: none)."""
        band, integral_time, derivative_time = terms
        low, high = limits
        gain, error = 100.0 / band, setpoint - value
        slope = 0.0 if self._before is None or dt <= 0 else (value - self._before) / dt
        self._before = value
        fast = gain * (error - derivative_time * slope)
        if integral_time > 0:
            integral = self._integral + gain * error * dt / integral_time
            if low < fast + integral < high or abs(integral) < abs(self._integral):
                self._integral = integral
        else:
            self._integral = 0.0
        return min(high, max(low, fast + self._integral))
