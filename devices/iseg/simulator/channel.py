"""One simulated output of an iseg module: a resistive load, a ramp, protections; no clock, no frames.

Volts and amperes are magnitudes, whatever the polarity; loads are in Mohm. What the manufacturer's guide leaves
open is chosen here and marked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from devices.iseg.edcp.bits import Action, ChannelEvent
from devices.iseg.edcp.bits import ChannelStatus as Bit

SHORT = 1.0
"""Ohm of the smallest load."""

LOW_RANGE_AMPS = 20e-6
"""Below this a board with two current ranges uses the low one (guide, CurrentMeasureRange)."""

_ON, _RAMPING, _EMERGENCY = int(Bit.ON), int(Bit.RAMPING), int(Bit.EMERGENCY_OFF)
_CC, _CV, _INHIBIT = int(Bit.CURRENT_CONTROL), int(Bit.VOLTAGE_CONTROL), int(Bit.INHIBIT)
_UP, _DOWN, _LOW = int(Bit.VOLTAGE_RAMP_UP), int(Bit.VOLTAGE_RAMP_DOWN), int(Bit.LOW_RANGE)
_TRIP, _VOLTAGE_LIMIT, _CURRENT_LIMIT = int(Bit.TRIP), int(Bit.VOLTAGE_LIMIT), int(Bit.CURRENT_LIMIT)
_VOLTAGE_BOUNDS, _CURRENT_BOUNDS = int(Bit.VOLTAGE_BOUNDS), int(Bit.CURRENT_BOUNDS)
# Plain numbers, because flags are slow and words are made for every channel fifty times a second.

_ON_TO_OFF, _END_OF_RAMP = int(ChannelEvent.ON_TO_OFF), int(ChannelEvent.END_OF_RAMP)
_LIVE_EVENTS = 0xFEFE & ~(_ON_TO_OFF | _END_OF_RAMP)
"""Status bits that are latched as the event of the same number."""


@dataclass(slots=True)
class Rules:
    """What the module decides for all of its channels: kill mode, ramp in V/s, hardware limits in V and A."""

    kill: bool
    rate: float
    volts_limit: float
    amps_limit: float


class Channel:
    """Settings, state and surroundings of one output; a misspelt attribute raises at once.

    ``ramp`` is what the ramp generator demands, ``volts`` and ``amps`` what the output does. ``rate_up`` and
    ``rate_down`` (V/s, 0: the module's) work on boards with ramps per channel only. Surroundings, which only a test
    or a back door touches: ``load`` (Mohm, ``inf`` for none, 0 for a short), ``inhibited`` (inhibit line),
    ``error_volts`` (faulty regulation).
    """

    __slots__ = (
        "_constant_current", "amps", "amps_bounds", "amps_nominal", "emergency", "error_volts", "events", "faults",
        "group", "inhibit_action", "inhibited", "iset", "load", "mask", "on", "over", "polarity", "ramp", "rate_down",
        "rate_up", "trip_action", "trip_time", "volts", "volts_bounds", "volts_nominal", "vset",
    )  # fmt: skip

    def __init__(self, volts_nominal: float, amps_nominal: float, load: float = 1000.0) -> None:
        self.volts_nominal, self.amps_nominal, self.load = volts_nominal, amps_nominal, load
        self.inhibited, self.error_volts = False, 0.0
        self.power_cycle()

    def power_cycle(self) -> None:
        """Forget everything; the guide names only masks and group numbers, no set point is known to survive."""
        self.on = self.emergency = self._constant_current = False
        self.vset = self.ramp = self.volts = self.amps = self.over = 0.0
        self.iset, self.volts_bounds, self.amps_bounds = self.amps_nominal, 0.0, 0.0
        self.rate_up = self.rate_down = 0.0
        self.trip_time, self.trip_action, self.inhibit_action, self.group = 100, int(Action.NONE), int(Action.OFF), 0
        self.events = self.faults = self.mask = 0
        self.polarity = 1

    @property
    def goal(self) -> float:
        """Volts that the ramp is heading for."""
        return self.vset if self.on else 0.0

    @property
    def ramping(self) -> bool:
        """Whether the ramp generator is moving."""
        return self.ramp != self.goal

    @property
    def quiet(self) -> bool:
        """Whether nothing can happen here: off and discharged."""
        return not (self.on or self.ramp or self.inhibited)

    def shut_off(self) -> None:
        """Go to zero without a ramp; the output is taken to discharge at once."""
        if self.on:
            self.events |= _ON_TO_OFF
        self.on = self._constant_current = False
        self.ramp = self.volts = self.amps = self.over = 0.0

    def trip(self, cause: int = 0) -> None:
        """Trip: off without ramp, and so marked until the event is cleared."""
        self.shut_off()
        self.faults |= _TRIP | cause
        self.latch()

    def act(self, action: int) -> bool:
        """Obey a trip or inhibit action; True when the whole module has to go off."""
        if action == Action.RAMP_DOWN:
            self.on = False
        elif action == Action.OFF:
            self.shut_off()
        return action == Action.MODULE_OFF

    def clear(self, bits: int) -> None:
        """Clear events, and the latched status bits that go with them; what persists comes back at once."""
        self.events &= ~bits
        self.faults &= ~bits
        self.latch()

    def latch(self) -> None:
        """Let what is the case now become events."""
        self.events |= self.status() & _LIVE_EVENTS

    def step(self, dt: float, rules: Rules) -> bool:
        """Advance by dt seconds; exact to one dt, so keep it small. True when the whole module has to go off."""
        module_off = False
        if self.inhibited and not self.events & _INHIBIT:
            module_off = self.act(self.inhibit_action)
        was_ramping = self.ramping
        rate = (self.rate_up if self.goal > self.ramp else self.rate_down) or rules.rate
        step = rate * dt
        self.ramp = min(self.goal, self.ramp + step) if self.goal > self.ramp else max(self.goal, self.ramp - step)
        if was_ramping and not self.ramping:
            self.events |= _END_OF_RAMP
        self._load_the_output(rules)
        if rules.kill:
            self._kill(rules)
        else:
            module_off |= self._delayed_trip(dt)
        self.latch()
        return module_off

    def _load_the_output(self, rules: Rules) -> None:
        """Let load and current control decide what becomes of the ramp's volts."""
        ohms = max(SHORT, self.load * 1e6)
        by_current = math.inf if rules.kill else self.iset * ohms
        self._constant_current = self.ramp > by_current
        self.volts = min(self.ramp, by_current) + (self.error_volts if self.ramp else 0.0)
        self.amps = self.volts / ohms
        if self.volts > rules.volts_limit:
            self.faults |= _VOLTAGE_LIMIT
        if self.amps > rules.amps_limit * (1 + 1e-9):
            self.faults |= _CURRENT_LIMIT

    def _kill(self, rules: Rules) -> None:
        bounds = self.status() & (_VOLTAGE_BOUNDS | _CURRENT_BOUNDS)
        limits = self.faults & (_VOLTAGE_LIMIT | _CURRENT_LIMIT)
        if self.on and (self.amps > self.iset * (1 + 1e-9) or bounds or limits):
            self.trip(limits)

    def _delayed_trip(self, dt: float) -> bool:
        self.over = self.over + dt if self.on and self._constant_current else 0.0
        if not self.trip_action or self.over < self.trip_time / 1000 - 1e-9:
            return False
        if self.trip_action == Action.FUNCTION_OFF:  # the guide does not explain it; taken as none
            return False
        self.faults |= _TRIP
        self.over = 0.0
        return self.act(self.trip_action)

    def _out_of_bounds(self) -> int:
        """Bounds count when they are not 0 and nothing ramps; both chosen, the guide gives only their range."""
        word = 0
        if self.on and not self.ramping:
            if self.volts_bounds and abs(self.volts - self.vset) > self.volts_bounds:
                word |= _VOLTAGE_BOUNDS
            if self.amps_bounds and abs(self.amps - self.iset) > self.amps_bounds:
                word |= _CURRENT_BOUNDS
        return word

    def low_range(self, kill: bool) -> bool:
        """Whether a board with two ranges would measure the current in the low one."""
        rising = self.goal > self.ramp
        return not (kill or rising or self._constant_current) and self.amps < LOW_RANGE_AMPS

    def status(self, low_range: bool = False) -> int:
        """Return the 32-bit status word; faults stay in it until their event is cleared (inferred)."""
        word = self.faults | (_EMERGENCY if self.emergency else 0) | (_LOW if low_range else 0)
        if self.quiet:
            return word
        if self.on:
            word |= _ON | (_CC if self._constant_current else _CV)
        if self.ramping:
            word |= _RAMPING | (_UP if self.goal > self.ramp else _DOWN)
        if self.inhibited:
            word |= _INHIBIT
        return word | self._out_of_bounds()
