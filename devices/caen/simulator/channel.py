"""One simulated output of a CAEN supply: a resistive load, ramps, protections; no clock, no bytes.

Units are those of the unit's own language: V, uA, V/s, s; loads are in Mohm, so that V = uA * Mohm. What the
manuals leave open is chosen here, which is noted.
"""

from __future__ import annotations

import math

from devices.caen.protocol import ChannelStatus as Bit

ENDLESS_TRIP = 1000.0
"""TRIP time in seconds that means: stay in overcurrent for ever (N1470 manual)."""

POWER = 4.0
"""Output power in W at which a channel of a DT5533E gives way (data sheet)."""

FASTEST = 20_000.0
"""V/s of a channel that goes off "as fast as it can"; chosen, the manuals give no number."""

LOW_RANGE = 0.1
"""Full scale of IMON in the low range as a fraction of the high one."""

ZERO_CURRENT_TIME = 2.0
"""Seconds that sampling the zero current takes before ZCDTC falls back to OFF; chosen."""


def tolerance(volts: float) -> float:
    """Return how far VMON may be off before OVV or UNV show: 2 % but at least 10 V (N1470 manual, text)."""
    return max(10.0, 0.02 * volts)


def approach(value: float, goal: float, step: float) -> float:
    """Move value towards goal by at most step."""
    return min(goal, value + step) if goal > value else max(goal, value - step)


class SimulatedOutput:
    """Settings, state and surroundings of one output; a misspelt attribute raises at once.

    ``ramp`` is what the ramp generator demands, ``volts`` and ``microamps`` what the output does.
    Surroundings, which only a test or a back door touches: ``load`` (Mohm, ``inf`` for none, 0 for a short),
    ``polarity``, ``killed`` (KILL input), ``interlocked`` (board), ``error_volts`` (faulty regulation),
    ``collapsed`` (output dead although on, and no trip bit: seen on real units), ``forced`` (status bits that
    are set whatever else), ``corrupt`` (what the next read of the status is answered with, once).
    """

    __slots__ = (
        "_over", "_zeroing", "collapsed", "corrupt", "error_volts", "fast", "forced", "full_scale", "imrange",
        "interlocked", "iset", "killed", "load", "maxv", "microamps", "on", "over", "overpower", "pdwn",
        "polarity", "ramp", "rdw", "rup", "trip", "tripped", "volts", "vset", "zcadj",
    )  # fmt: skip

    def __init__(self, load: float = 10.0, *, maxv: float = 4100.0, full_scale: float = 3000.0) -> None:
        self.vset, self.iset, self.maxv = 0.0, 100.0, maxv
        self.rup = self.rdw = 50.0
        self.trip, self.pdwn, self.imrange, self.zcadj = 10.0, "KILL", "HIGH", "DIS"
        self.load, self.polarity, self.full_scale = load, "+", full_scale
        self.killed = self.interlocked = self.collapsed = False
        self.error_volts, self.forced = 0.0, 0
        self.corrupt: int | None = None
        self.power_cycle()

    def power_cycle(self) -> None:
        """Lose everything but the settings, which survive power off."""
        self.on = self.tripped = self.over = self.overpower = self.collapsed = self.fast = False
        self.ramp = self.volts = self.microamps = self._over = self._zeroing = 0.0

    @property
    def goal(self) -> float:
        """Volts that the ramp is heading for."""
        return min(self.vset, self.maxv) if self.on else 0.0

    @property
    def zcdtc(self) -> str:
        """Whether the zero current is being sampled, ON or OFF."""
        return "ON" if self._zeroing > 0 else "OFF"

    @zcdtc.setter
    def zcdtc(self, word: str) -> None:
        self._zeroing = ZERO_CURRENT_TIME if word == "ON" else 0.0

    def switch_on(self) -> None:
        """Obey ON, unless tripped, killed or interlocked: then nothing happens, and the answer is OK all the same."""
        if not (self.tripped or self.killed or self.interlocked):
            self.on, self.fast, self._over = True, False, 0.0

    def switch_off(self, *, fast: bool = False) -> None:
        """Obey OFF: down from where the output is, with RDW or as fast as it can."""
        self.on, self.fast = False, fast
        self.ramp = min(self.ramp, self.volts)
        self._over = 0.0
        self.over = self.overpower = False

    def trip_now(self) -> None:
        """Trip, as at the end of the trip time; PDWN decides how the output goes to 0."""
        self.switch_off(fast=self.pdwn == "KILL")
        self.tripped = True

    def step(self, dt: float) -> None:
        """Advance by dt seconds; exact to one dt, so keep it small."""
        if self.killed or self.interlocked:
            self.switch_off(fast=True)
        self._zeroing = max(0.0, self._zeroing - dt)
        rate = FASTEST if self.fast else self.rup if self.goal > self.ramp else self.rdw
        self.ramp = min(approach(self.ramp, self.goal, rate * dt), self.maxv)
        self._load_the_output()
        self._over = self._over + dt if self.over else 0.0
        if self.over and self.trip < ENDLESS_TRIP and self._over >= self.trip - 1e-9:
            self.trip_now()
            self._load_the_output()

    def _load_the_output(self) -> None:
        """Let load, current limit and power limit decide what becomes of the ramp's volts."""
        by_current = self.iset * self.load if math.isfinite(self.load) else math.inf
        by_power = math.sqrt(POWER * 1e6 * self.load)
        self.volts = 0.0 if self.collapsed else min(self.ramp, by_current, by_power)
        if self.load > 0:
            self.microamps = self.volts / self.load
        else:
            self.microamps = self.iset if self.ramp > 0 and not self.collapsed else 0.0
        live = self.on and self.ramp > 0 and not self.collapsed
        beyond_range = self.imrange == "LOW" and self.microamps > self.full_scale * LOW_RANGE
        self.over = live and (self.volts >= by_current or beyond_range)
        self.overpower = live and by_power < min(self.ramp, by_current)

    @property
    def measured(self) -> float:
        """Volts as VMON shows them: a magnitude, with the error of a faulty regulation."""
        return max(0.0, self.volts + (self.error_volts if self.volts > 0 else 0.0))

    @property
    def status(self) -> int:
        """The status word; OVV and UNV only where nothing ramps, as on the real unit."""
        goal = self.goal
        settled = self.on and self.ramp == goal
        conditions = {
            Bit.ON: self.on,
            Bit.UP: self.on and self.ramp < goal,
            Bit.DOWN: self.ramp > goal and not self.fast,
            Bit.OVC: self.over,
            Bit.OVV: settled and self.measured > goal + tolerance(goal),
            Bit.UNV: settled and self.measured < goal - tolerance(goal),
            Bit.MAXV: self.on and self.vset > self.maxv and self.ramp >= self.maxv,
            Bit.TRIP: self.tripped,
            Bit.MAXPW: self.overpower,
            Bit.KILL: self.killed,
            Bit.INTLCK: self.interlocked,
        }
        return sum(int(bit) for bit, holds in conditions.items() if holds) | self.forced
