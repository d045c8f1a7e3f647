"""What a high-voltage channel means, for all makers: state, deviation, trip latch.

No I/O and no clock: every call is given the numbers of one scan together with the Unix time and the monotonic
time at which they arrived. CAEN and Iseg drivers translate their own status words into Conditions and publish
the readings that come back, so both families alarm alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from devices.model import Cause, DeviceSettings, Level, Reading, state_reading
from devices.rules.hv_trip import Activity, Conditions, FrozenCurrent, Sample, TripLatch
from devices.rules.settings import Demand


class State(IntEnum):
    """What the channel is doing; when several apply, the highest one wins."""

    OFF = 0
    ON = 1
    RAMP_UP = 2
    RAMP_DOWN = 3
    LIMITING = 4
    DEVIATING = 5
    RECOVERING = 6
    INHIBITED = 7
    KILLED = 8
    TRIPPED = 9
    FAULT = 10
    UNKNOWN = 11


_SHOWN = {State.KILLED: "KILLED / EMERGENCY OFF"}
STATES = tuple(_SHOWN.get(state, state.name.replace("_", " ")) for state in State)
"""Texts of State, in its order."""

SETTLE = 5.0  # s after a ramp before VDIFF and a current limit count, unless the site says otherwise
LASTING = 30.0  # s of current limiting before MINOR becomes MAJOR
OFF_UNASKED = 3.0  # s of "off though demanded on" before it is MAJOR
SETTLED_VOLTS, SETTLED_SHARE = 2.0, 0.002  # V, share of VSET: usual band in which a voltage has settled
LOAD_VOLTAGE = 10.0  # V above which a load can be computed
CURRENT_WARNING = 0.9  # share of the current limit in force


class Lasting:
    """How long a condition has held without interruption."""

    __slots__ = ("_since",)

    def __init__(self) -> None:
        self._since: float | None = None

    def seconds(self, holds: bool, now: float) -> float:
        """Note whether the condition holds and return for how many seconds it has, 0 when it does not."""
        if not holds:
            self._since = None
            return 0.0
        if self._since is None:
            self._since = now
        return now - self._since


_LEVELS = {"NO_ALARM": Level.OK, "MINOR": Level.MINOR, "MAJOR": Level.MAJOR}
"""Severities of the site file."""

_STATE_LEVEL = {
    State.RECOVERING: Level.MINOR,
    State.INHIBITED: Level.MAJOR,
    State.KILLED: Level.MAJOR,
    State.TRIPPED: Level.MAJOR,
    State.FAULT: Level.MAJOR,
    State.UNKNOWN: Level.INVALID,
}


def _deviation_level(difference: float, vset: float) -> Level:
    if difference > max(20.0, 0.02 * vset):
        return Level.MAJOR
    return Level.MINOR if difference > max(10.0, 0.01 * vset) else Level.OK


class HvChannel:
    """Everything about one output that is not simply a number on the wire.

    ``settle`` is the time in seconds after a ramp during which neither a deviation nor a current limit is alarming,
    ``settings`` are the suffixes of what users can set. ``band`` is how far in V a settled voltage may be from its
    setting, None for 2 V or 0.2 %. ``disabled`` is how bad a channel is that is disabled at its switch, ``activity``
    what the channels of one unit share. ``derived`` has the latest reading of what ``update`` makes.
    """

    def __init__(
        self,
        settle: float = SETTLE,
        settings: Iterable[str] = (),
        *,
        band: float | None = None,
        disabled: Level = Level.MINOR,
        activity: Activity | None = None,
    ) -> None:
        self.trip = TripLatch()
        self.polarity = PolarityWatch()
        self.demands = {suffix: Demand() for suffix in (*settings, "ON")}
        self.late: list[str] = []  # what has come true of writes whose outcome was unknown, for people
        self.derived: dict[str, Reading] = {}
        self.limiting_level = Level.OK
        self._settle = settle
        self._band = band
        self._disabled = disabled
        self._activity = activity or Activity()
        self._settling_from: float | None = None
        self._ramped: float | None = None  # when it was last seen ramping
        self._last_vset: float | None = None
        self._deviation_level = Level.OK
        self._load: Reading | None = None
        self._frozen = FrozenCurrent()
        self._limiting, self._off_unasked, self._in_band = Lasting(), Lasting(), Lasting()

    @classmethod
    def of(cls, device: DeviceSettings, settings: Iterable[str], activity: Activity) -> HvChannel:
        """Return the channel of a device with what its site file says: see devices.rules.options."""
        options = device.options
        band = options.get("settled_band")
        return cls(
            float(options.get("settle", SETTLE)),
            settings,
            band=None if band is None else float(band),
            disabled=_LEVELS[options.get("disabled_severity", "MINOR")],
            activity=activity,
        )

    def link_lost(self) -> None:
        """Forget what only holds within one connection; demands, trip latch and counters stay."""
        self.trip.forget_output()
        self.polarity.link_lost()
        self.derived.clear()
        for demand in self.demands.values():
            demand.link_lost()
        self._settling_from = self._ramped = self._last_vset = None
        self._frozen = FrozenCurrent()
        self._activity.clear()
        self._limiting, self._off_unasked, self._in_band = Lasting(), Lasting(), Lasting()

    @property
    def demand_on(self) -> bool | None:
        """Whether the output is to be on; None before it is known."""
        value = self.demands["ON"].value
        return None if value is None else bool(value)

    @demand_on.setter
    def demand_on(self, on: bool | None) -> None:
        self.demands["ON"].value = None if on is None else int(on)

    def missed_trip(self, sample: Sample) -> None:
        """Latch a trip that only the unit's memory of events still tells of."""
        self.trip.missed(sample)
        self.derived |= self.trip.readings(sample.time)

    def acknowledge(self, now: float) -> None:
        """Clear the trip latch; ``now`` is Unix time in seconds."""
        self.trip.acknowledge()
        self.derived |= self.trip.readings(now)

    def accept_on(self, on: bool) -> None:
        """Take a new on/off demand from a user."""
        self.demands["ON"].accept(int(on))
        self._off_unasked = Lasting()

    def update(self, sample: Sample) -> dict[str, Reading]:
        """Return, and keep, the derived readings, by suffix, for which this sample holds what they need."""
        found = self._derive(sample)
        self.derived |= found
        return found

    def _derive(self, sample: Sample) -> dict[str, Reading]:
        found: dict[str, Reading] = {}
        if sample.conditions is not None:
            self.late += self.demands["ON"].observe(int(sample.conditions.on), 0.0)
        if sample.imon is not None:
            found["IMON"] = self._current(sample)
        if sample.vmon is not None and sample.imon is not None:
            found["EFFLOAD"] = self._effective_load(sample.vmon, sample.imon, sample)
        if sample.conditions is None:
            return found
        self.trip.observe(sample, bool(self.demand_on))
        found |= self.trip.readings(sample.time)
        found["MOVING"] = Reading(int(sample.conditions.moving), sample.time)
        if sample.imon is not None and sample.vmon is not None:
            found["FROZEN"] = self._old_data(sample.vmon, sample.imon, sample, sample.conditions)
        if (deviation := self._deviation(sample, sample.conditions)) is not None:
            found["VDIFF"] = deviation
        if sample.vmon is not None and sample.vset is not None:
            found["SETTLED"] = self._settled(sample.vmon, sample.vset, sample, sample.conditions)
        found["ON.RBV"] = self._on(sample, sample.conditions)
        found["STATE"] = self._state(sample, sample.conditions)
        return found

    def _current(self, sample: Sample) -> Reading:
        if sample.imon is not None and sample.iset and sample.imon >= CURRENT_WARNING * sample.iset:
            return Reading(sample.imon, sample.time, Level.MINOR, Cause.HIGH)
        return Reading(sample.imon, sample.time)

    def _effective_load(self, vmon: float, imon: float, sample: Sample) -> Reading:
        if vmon > LOAD_VOLTAGE and imon > 0 and imon >= sample.current_step:
            self._load = Reading(vmon / imon, sample.time)
        # Without voltage or current there is no load to tell, which is not alarming: the last one stays, with
        # the time at which it was measured, and 0 until there was one.
        return self._load or Reading(0.0, sample.time)

    def _old_data(self, vmon: float, imon: float, sample: Sample, conditions: Conditions) -> Reading:
        self._activity.note((id(self), "V"), vmon, sample.now)
        self._activity.note((id(self), "I"), imon, sample.now)
        frozen = self._frozen.observe(
            imon,
            vmon,
            sample.current_step,
            flowing=conditions.on and not conditions.limiting,
            steady=not conditions.moving and sample.vset == self._last_vset,
            quiet=self._activity.quiet(sample.now),
            now=sample.now,
        )
        return state_reading(int(frozen), sample.time, Level.MINOR if frozen else Level.OK)

    def _settled(self, vmon: float, vset: float, sample: Sample, conditions: Conditions) -> Reading:
        band = max(SETTLED_VOLTS, SETTLED_SHARE * vset) if self._band is None else self._band
        inside = conditions.on and not conditions.moving and abs(vmon - vset) <= band
        lasted = self._in_band.seconds(inside, sample.now)
        return Reading(int(inside and lasted >= self._settle), sample.time)

    def _deviation(self, sample: Sample, conditions: Conditions) -> Reading | None:
        changed = sample.vset is not None and sample.vset != self._last_vset
        if sample.vset is not None:
            self._last_vset = sample.vset
        if not conditions.on or conditions.moving or changed or self._settling_from is None:
            self._settling_from = sample.now
        settled = conditions.on and not conditions.moving and sample.now - self._settling_from >= self._settle
        if not settled:
            self._deviation_level = Level.OK
        if sample.vmon is None or sample.vset is None:
            return None
        difference = sample.vmon - sample.vset
        if settled:
            self._deviation_level = _deviation_level(abs(difference), sample.vset)
        # Rounded to undo what binary fractions make of two decimal values: 100.1 - 100.0 is 0.1.
        return state_reading(round(difference, 6), sample.time, self._deviation_level)

    def _on(self, sample: Sample, conditions: Conditions) -> Reading:
        alarming = not conditions.alarmed_elsewhere
        unasked = alarming and bool(self.demand_on) and not conditions.on and not self.trip.explains_off
        level = Level.MINOR if alarming and self.demands["ON"].lasting else Level.OK
        if self._off_unasked.seconds(unasked, sample.now) >= OFF_UNASKED:
            level = Level.MAJOR
        return state_reading(int(conditions.on), sample.time, level)

    def _state(self, sample: Sample, conditions: Conditions) -> Reading:
        limiting = conditions.on and conditions.limiting and not conditions.moving
        lasted = self._limiting.seconds(limiting, sample.now)
        self.limiting_level = (Level.MAJOR if lasted >= LASTING else Level.MINOR) if limiting else Level.OK
        if conditions.moving:
            self._ramped = sample.now
        state = self._which(conditions, limiting and not self._just_ramped(sample.now))
        level = _STATE_LEVEL.get(state, Level.OK)
        if state is State.INHIBITED and not conditions.inhibited:
            level = self._disabled if conditions.disabled else Level.OK
        elif state is State.FAULT and not conditions.fault:
            own = self.trip.active or conditions.killed or conditions.inhibited
            level = Level.MAJOR if own else Level.OK
        elif state is State.LIMITING:
            level = self.limiting_level
        elif state is State.DEVIATING:
            # Where the current limit is the reason and has been for long, the alarm is no less for being named after
            # the deviation.
            level = max(self._deviation_level, self.limiting_level)
        return state_reading(int(state), sample.time, level)

    def _just_ramped(self, now: float) -> bool:
        """Whether a current limit is that of charging the load: what a ramp needs goes on for a moment after it."""
        return self._ramped is not None and now - self._ramped < self._settle

    def _which(self, conditions: Conditions, limiting: bool) -> State:
        ranking = (
            (conditions.fault or conditions.unit_fault, State.FAULT),
            (self.trip.active, State.TRIPPED),
            (conditions.killed, State.KILLED),
            (conditions.inhibited or conditions.interlocked or conditions.disabled, State.INHIBITED),
            (self._deviation_level > Level.OK, State.DEVIATING),
            (limiting, State.LIMITING),
            (conditions.down, State.RAMP_DOWN),
            (conditions.up, State.RAMP_UP),
            (conditions.on, State.ON),
        )
        return next((state for applies, state in ranking if applies), State.OFF)


class PolarityWatch:
    """The polarity against that of the last connection: the jumper may have been moved meanwhile."""

    __slots__ = ("_changed", "_current", "_fresh")

    def __init__(self) -> None:
        self._current: int | None = None
        self._changed = False
        self._fresh = True

    def link_lost(self) -> None:
        """Compare the next reading with the last one."""
        self._fresh = True

    def observe(self, polarity: int, time: float) -> Reading:
        """Take one reading, 0 positive and 1 negative; MAJOR while this connection differs from the last."""
        if self._fresh:
            self._changed = self._current is not None and self._current != polarity
            self._fresh = False
        elif self._current != polarity:
            self._changed = True
        self._current = polarity
        return state_reading(polarity, time, Level.MAJOR if self._changed else Level.OK)
