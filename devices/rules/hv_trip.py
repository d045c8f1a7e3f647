"""One status reading of a high-voltage channel, and what is remembered from one to the next.

That is an output that was lost, and readings that a hung device repeats: a steady load draws a steady current, so equal
readings alone say nothing. Part of the vendor-independent meaning in devices.rules.hv_channel: no I/O and no clock.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass
from datetime import datetime

from devices.model import Level, Reading, state_reading

COLLAPSED = 0.5  # share of VSET below which an output that stood there is lost
LOST_ABOVE = 20.0  # V below which a lost voltage cannot be distinguished from noise
UNDECIDED = 10.0  # s after an output has gone in which more may be learnt of why

FROZEN_AFTER = 60.0  # s without a change
FLOWING_STEPS = 10  # resolution steps of current below which a reading may well stand still
NOISY = 3  # changes of a current at a steady voltage that show that it has noise


@dataclass(frozen=True, slots=True)
class Conditions:
    """One status reading in the words of no manufacturer.

    ``fault`` is over-temperature, power or input error of this channel, ``inhibited`` an inhibit of it, ``disabled``
    its enable switch. ``interlocked`` and ``unit_fault`` are the same of the whole unit, as far as a signal of the unit
    carries their alarm: a channel then shows its state without one, so that one cause is one alarm.
    """

    on: bool = False
    up: bool = False
    down: bool = False
    limiting: bool = False
    undervoltage: bool = False
    inhibited: bool = False
    disabled: bool = False
    killed: bool = False
    tripped: bool = False
    fault: bool = False
    interlocked: bool = False
    unit_fault: bool = False

    @property
    def moving(self) -> bool:
        """Whether the output is ramping."""
        return self.up or self.down

    @property
    def explained_off(self) -> bool:
        """Whether a protection other than the trip accounts for an output that is off."""
        return self.inhibited or self.killed or self.fault or self.alarmed_elsewhere

    @property
    def alarmed_elsewhere(self) -> bool:
        """Whether an output may be off for a reason whose alarm is not that of ON.RBV."""
        return self.disabled or self.interlocked or self.unit_fault


@dataclass(frozen=True, slots=True)
class Sample:
    """The numbers of one scan; None for what was not read in it or is not known.

    Voltages in V (magnitudes), currents in uA; ``current_step`` is the resolution of ``imon``, ``ramp_down`` the speed
    in V/s with which the output goes down when it is switched off, ``trip_time`` for how many seconds it may be at its
    current limit, infinite when for ever. ``time`` is Unix time of the answers, ``now`` monotonic time, in seconds.
    """

    time: float
    now: float
    conditions: Conditions | None = None
    vmon: float | None = None
    imon: float | None = None
    vset: float | None = None
    iset: float | None = None
    current_step: float = 0.01
    ramp_down: float | None = None
    trip_time: float | None = None


@dataclass(frozen=True, slots=True)
class _LastOn:
    """The last look at an output that was on; ``free`` is when it was last seen below its current limit."""

    now: float
    vmon: float
    limiting: bool
    free: float


class TripLatch:
    """Remember that the output was lost, until it is acknowledged.

    An event is the trip bit, or an output lost without a request, in two looks in a row: single corrupted status words
    have been seen on real supplies. An output is lost when

    * the voltage has collapsed below half of its setting although the unit reports on: seen on supplies that never set
      their trip bit;
    * the on bit has gone, and the unit's memory of alarms has a new trip, or the current limit had been reached for as
      long as the unit allows that, or the voltage has gone faster than the output ramps down.

    An output that may have been ramped down between two looks counts as switched off at the front panel: no event. It
    does not matter who switched the output on.
    """

    def __init__(self) -> None:
        self.latched = False
        self.active = False  # the condition of the last event still holds, acknowledged or not
        self.explains_off = False  # the output has not been on since the last event
        self.count = 0
        self.text_time = ""
        self.voltage = 0.0
        self.current = 0.0
        self._suspect = False  # the last look was an event
        self._last_on: _LastOn | None = None  # None: the output is off for a known reason
        self._at_voltage = False  # the output has stood at its setting
        self._alarmed = False  # the unit's memory has a new trip since the output was on
        self._demanded = False
        self._switched_on = False  # not by a put, while the demand was off
        self._was_off = True  # since the demand changed, or since the link came back
        self._gone = False  # at the last look the on bit was missing, and no ramp was going on
        self._gone_at = 0.0  # the first such look
        self._before: tuple[float, float] = (0.0, 0.0)
        self._highest = self._before  # since the unit's memory of events was empty

    @property
    def undecided(self) -> bool:
        """Whether an output has gone and it is not known why: the unit's memory of alarms may tell."""
        return self._last_on is not None and self._gone and not self.active

    def alarmed(self) -> None:
        """Note that the unit's memory of alarms has a trip that was not there while the output was on."""
        self._alarmed = True

    def acknowledge(self) -> None:
        """Clear the latch; the same event does not latch again."""
        self.latched = False

    def memory_empty(self) -> None:
        """Note that the unit's memory of events has no trip: one that it has later has happened since."""
        self._highest = self._before if self._last_on is not None else (0.0, 0.0)

    def missed(self, sample: Sample) -> None:
        """Latch an event that the unit remembers, but which was over before the next look: the output is on.

        The last looks may be from after it, on the way up again: its values are those at the highest voltage since the
        memory was empty.
        """
        if sample.conditions is not None and not self.active:
            self._latch(sample.time, sample.conditions, self._highest)

    def forget_output(self) -> None:
        """Drop what the last readings were, because the link was lost in between."""
        self._last_on = None
        self._suspect = self._at_voltage = self._alarmed = False
        self._was_off = True

    def observe(self, sample: Sample, demanded_on: bool) -> None:
        """Take one status reading with the values read just before it."""
        conditions = sample.conditions
        if conditions is None:
            return
        self._follow(conditions, demanded_on, sample.now)
        event = conditions.tripped or self._lost(conditions, sample)
        if event and self._suspect and not self.active:
            self._latch(sample.time, conditions, self._before)
        if not event:
            if not self._suspect:
                self.active = False
            self._remember(conditions, sample)
        self._suspect = event

    def _follow(self, conditions: Conditions, demanded_on: bool, now: float) -> None:
        """Find out whether the output was switched on without a put although it is to be off."""
        if demanded_on != self._demanded:
            self._demanded, self._switched_on, self._was_off = demanded_on, False, False
        if conditions.on and self._was_off and not demanded_on:
            self._switched_on = True
        self._was_off = self._was_off or not conditions.on
        gone, self._gone = self._gone, not conditions.on and not conditions.down
        if not gone:
            self._gone_at = now

    def _lost(self, conditions: Conditions, sample: Sample) -> bool:
        if conditions.explained_off or not (self._demanded or self._switched_on):
            return False
        if not conditions.on:
            return self._gone and self._last_on is not None and self._has_tripped(self._last_on, sample)
        if not conditions.undervoltage or conditions.moving or conditions.limiting or not self._at_voltage:
            return False
        if sample.vmon is None or sample.vset is None:
            return self.active  # a look at the status alone neither begins nor ends it
        return sample.vset >= LOST_ABOVE and sample.vmon < COLLAPSED * sample.vset

    def _has_tripped(self, last: _LastOn, sample: Sample) -> bool:
        """Whether an output that is off now, and was on at the last look, was lost and not switched off."""
        overloaded = last.limiting and (sample.trip_time is None or self._gone_at - last.free >= sample.trip_time)
        if self._alarmed or overloaded or self.active:
            return True
        if sample.ramp_down is None or sample.vmon is None:
            return False
        ramped = last.vmon - sample.ramp_down * (sample.now - last.now)
        return ramped >= LOST_ABOVE and sample.vmon < COLLAPSED * ramped

    def _remember(self, conditions: Conditions, sample: Sample) -> None:
        known = conditions.explained_off or not (self._demanded or self._switched_on)
        waited = self._last_on is not None and sample.now - self._last_on.now > UNDECIDED
        if known or (not conditions.on and (waited or not self._gone)):
            self._last_on, self._at_voltage = None, False
        if not conditions.on or conditions.explained_off:
            return
        self.explains_off = self._alarmed = False
        if known:
            return
        voltage = sample.vmon if sample.vmon is not None else self._before[0]
        before = self._last_on  # one odd word alone is no output at its limit
        limiting = conditions.limiting and not conditions.moving and before is not None
        free = sample.now if not conditions.limiting else -math.inf if before is None else before.free
        self._last_on = _LastOn(sample.now, voltage, limiting, free)
        if sample.vmon is None or sample.imon is None:
            return
        self._before = sample.vmon, sample.imon
        self._highest = max(self._highest, self._before)
        if sample.vset is not None and not conditions.undervoltage and not conditions.moving:
            self._at_voltage = sample.vmon >= COLLAPSED * sample.vset

    def _latch(self, time: float, conditions: Conditions, before: tuple[float, float]) -> None:
        self.latched = self.active = self.explains_off = True
        self.count += 1
        self.text_time = datetime.fromtimestamp(time).astimezone().isoformat(timespec="seconds")
        self.voltage, self.current = before
        if conditions.tripped:
            # From here on the output is known to be off: its absence once the bit is cleared is no new loss.
            self._last_on, self._at_voltage = None, False

    def reading(self, time: float) -> Reading:
        """Return the latch itself."""
        return state_reading(int(self.latched), time, Level.MAJOR if self.latched else Level.OK)

    def readings(self, time: float) -> dict[str, Reading]:
        """Return TRIP and what is known about the last event."""
        return {
            "TRIP": self.reading(time),
            "TRIP.COUNT": Reading(self.count, time),
            "TRIP.TIME": Reading(self.text_time, time),
            "TRIP.V": Reading(self.voltage, time),
            "TRIP.I": Reading(self.current, time),
        }


class Activity:
    """When anything that one unit measures has changed last; shared by its channels."""

    def __init__(self) -> None:
        self._values: dict[Hashable, float] = {}
        self._changed: float | None = None

    def note(self, key: Hashable, value: float, now: float) -> None:
        """Take one reading of a quantity; ``now`` is monotonic time in seconds."""
        if self._changed is None or self._values.get(key) != value:
            self._values[key] = value
            self._changed = now

    def quiet(self, now: float) -> float:
        """Return for how many seconds nothing has changed."""
        return 0.0 if self._changed is None else now - self._changed

    def clear(self) -> None:
        """Begin anew, because the link was lost."""
        self._values.clear()
        self._changed = None


class FrozenCurrent:
    """Watch one current that flows.

    It is suspected after 60 s without a change, when either it does not follow a voltage that has changed meanwhile, or
    it had noise before and nothing else of the unit changes either.
    """

    __slots__ = ("_changes", "_imon", "_since", "_vmon")

    def __init__(self) -> None:
        self._imon: float | None = None
        self._vmon = 0.0
        self._since = 0.0
        self._changes = 0

    def observe(
        self, imon: float, vmon: float, step: float, *, flowing: bool, steady: bool, quiet: float, now: float
    ) -> bool:
        """Take one reading in uA and V; ``step`` is the resolution of the current in uA, ``now`` monotonic time in s.

        ``steady`` says that the voltage is not meant to change, ``quiet`` for how many seconds nothing of the unit has.
        """
        if not flowing or abs(imon) < FLOWING_STEPS * step:
            self._imon = None
            return False
        if imon != self._imon:
            if steady and self._imon is not None:
                self._changes += 1
            self._imon, self._vmon, self._since = imon, vmon, now
            return False
        if now - self._since < FROZEN_AFTER:
            return False
        follows = abs(imon * (vmon - self._vmon)) < FLOWING_STEPS * step * max(self._vmon, 1.0)
        return not follows or (self._changes >= NOISY and quiet >= FROZEN_AFTER)
