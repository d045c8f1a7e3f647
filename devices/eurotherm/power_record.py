"""Power interruptions of a furnace: what happened, concluded from the readings before and after.

No I/O and no clock: every reading comes with its Unix time, and with monotonic time for the silence before it, since
the clock of a small computer may jump after its start. What tells the cases apart (handbook HA028651):

* The controller's mains-failure flag is set by every failure and stays until its alarms are acknowledged. Newly set,
  it proves an interruption, whether or not the link was silent too.
* Silence with the flag clear is a lost link: cable, adapter or computer; the furnace went on.
* Silence with a flag that was set before says nothing. Then traces decide: the programmer was reset, the working
  setpoint or the temperature fell further than setpoint, program or hand may have led it. Without any it is
  not known. (That the remote setpoint was lost is no trace: it is lost with every link that is silent for seconds.)
* A flag that is clear after this program was not running may have been acknowledged at the front panel: traces again.

An interruption began after the last reading before it and had ended at the first one after it, so its duration is an
upper bound. When the computer lost its power too, the last reading before is one that was kept on disk, and the
duration is known once the computer's clock has been set. Within one run of the computer its uptime tells it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from enum import Enum
from typing import Any

LINK_NOTED = 10.0  # seconds of a lost link that are worth a report
STEP = 2.0  # seconds between clock and silence that say that the clock was set
FELL = 5.0  # C that the temperature has to fall to count as a trace of missing power
RECOVERED = 1.0  # C below the temperature before, at which it is back
FOLLOWED = 3600.0  # seconds after the return during which the lowest temperature is watched
SAGS = 600.0  # seconds after the return in which a temperature that has not fallen yet may still do so
LATEST = 1e11  # s, Unix time of a year that no clock shows
KEPT = 50  # interruptions in the history
RUNNING = ("RUN", "HOLD")


class Kind(Enum):
    """What a silence or a flag means."""

    MAINS = "mains"
    LIKELY = "likely"
    LINK = "link"
    UNKNOWN = "unknown"


MAINS_KINDS = (Kind.MAINS, Kind.LIKELY)
"""What is counted as a power interruption."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The furnace at one moment; None for what is not known. ``flag`` is the controller's mains-failure flag.

    ``boot`` names the run of the computer and ``uptime`` the seconds since its start; ``dated`` is False when the
    computer's clock had not been set.
    """

    time: float
    flag: bool
    temp: float | None = None
    target: float | None = None
    working: float | None = None
    output: float | None = None
    mode: str = ""
    remote: str = ""
    program: str = ""
    left: float | None = None
    boot: str = ""
    uptime: float | None = None
    dated: bool = True

    @property
    def started(self) -> float | None:
        """Unix time at which the computer started, by its clock at this moment."""
        return None if self.uptime is None else self.time - self.uptime

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Sample:
        """Rebuild a reading. Raises TypeError or ValueError when it is none."""
        _check(data)
        return cls(**data)

    def differs(self, other: Sample) -> bool:
        """Whether a setting, a mode or the flag is another one; not so the measured values."""
        return (self.flag, self.target, self.mode, self.remote, self.program) != (
            other.flag, other.target, other.mode, other.remote, other.program,
        )  # fmt: skip


@dataclass(slots=True)
class Interruption:
    """One event; ``before`` is None when nothing is known of the time before.

    It is updated in place: by how the temperature recovers, and its times once the computer's clock has been set.
    ``lasted`` is how many seconds it was at most, None when that is not known. ``restarted``: this program was not
    running throughout. ``computer``: nor was the computer, which started at that Unix time. ``link`` says how the link
    failed. ``lowest`` is the lowest temperature since, in C; ``back`` the Unix time at which the temperature was that
    of before again.
    """

    kind: Kind
    before: Sample | None
    after: Sample
    lasted: float | None = None
    traces: tuple[str, ...] = ()
    restarted: bool = False
    computer: float | None = None
    link: str = ""
    lowest: float | None = None
    lowest_at: float = 0.0
    back: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Return what ``from_json`` reads."""
        return asdict(self) | {"kind": self.kind.value}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Interruption:
        """Rebuild an event. Raises KeyError, TypeError or ValueError when it is none."""
        before = data["before"]
        _check({name: value for name, value in data.items() if name in _TYPES})
        return cls(**data | {
            "kind": Kind(data["kind"]),
            "before": None if before is None else Sample.from_json(before),
            "after": Sample.from_json(data["after"]),
            "traces": tuple(str(trace) for trace in data["traces"]),
        })  # fmt: skip


@dataclass(slots=True)
class PowerRecord:
    """Watches one furnace.

    ``quiet`` is how many seconds without a reading are silence. ``last`` is the newest sample, at the start one that
    was kept on disk. ``changed`` is True when history, counter or latch have to be saved at once, ``moved`` when they
    have to be saved some time; who saves them clears both.
    """

    quiet: float
    last: Sample | None = None
    count: int = 0
    latched: bool = False
    history: list[Interruption] = field(default_factory=list)
    changed: bool = False
    moved: bool = False
    _paused: bool = False
    _lost: str = ""
    _seen_at: float | None = None  # monotonic time of the newest reading of this program
    _watched: Interruption | None = None

    @property
    def event(self) -> Interruption | None:
        """The last power interruption."""
        return next((event for event in reversed(self.history) if event.kind in MAINS_KINDS), None)

    @property
    def shown(self) -> Interruption | None:
        """The event to report: the interruption that waits to be acknowledged, else the last event."""
        return self.event if self.latched else (self.history[-1] if self.history else None)

    def lost(self, reason: str) -> None:
        """Take note that the controller cannot be read; ``reason`` is a clause: ``the serial port was gone``."""
        if self._seen_at is not None and not self._lost:
            self._lost = reason

    def paused(self) -> None:
        """Take note that the controller is not asked any more, unless it was lost before."""
        self._paused = not self._lost

    def acknowledge(self) -> None:
        """Clear the latch."""
        self.changed, self.latched = True, False

    def observe(self, sample: Sample, now: float) -> None:
        """Take one reading; ``now`` is monotonic time in seconds."""
        self._date(sample)
        before, lost, seen, paused = self.last, self._lost, self._seen_at, self._paused
        first = seen is None
        gap = None if before is None else _gap(before, sample) if seen is None else now - seen
        self.last, self._lost, self._paused, self._seen_at = sample, "", False, now
        silent = first or bool(lost) or (gap or 0.0) > self.quiet
        if before is not None and gap is not None and abs(sample.time - before.time - gap) > STEP:
            before = replace(before, time=sample.time - gap, dated=sample.dated)  # the clock was set in between
        traces = _traces(before, sample, gap) if before is not None and silent else ()
        rebooted = first and before is not None and _rebooted(before, sample)
        kind: Kind | None = None
        if sample.flag and (before is None or not before.flag):
            kind = Kind.MAINS
        elif traces and (sample.flag or first):
            kind = Kind.LIKELY
        elif sample.flag and rebooted:
            kind = Kind.UNKNOWN
        elif silent and not first and not paused and (gap or 0.0) >= LINK_NOTED:
            kind = Kind.UNKNOWN if sample.flag else Kind.LINK
        if kind is not None:
            self._add(Interruption(
                kind, before, sample, _lasted(before, sample, gap), traces, restarted=first and before is not None,
                computer=sample.started if rebooted else None, link=lost, lowest=sample.temp, lowest_at=sample.time,
            ))  # fmt: skip
        self._follow(sample)

    def _add(self, event: Interruption) -> None:
        self.history = [*self.history, event][-KEPT:]
        self.changed = True
        if event.kind in MAINS_KINDS:
            self.count += 1
            self.latched = True
            self._watched = event

    def _date(self, sample: Sample) -> None:
        """Correct the times of events that ended before the clock of the computer was set."""
        if not sample.dated or sample.started is None:
            return
        for event in self.history:
            before, after = event.before, event.after
            if after.dated or after.started is None or after.boot != sample.boot:
                continue
            shift = sample.started - after.started
            event.after = replace(after, time=after.time + shift, dated=True)
            if before is not None and not before.dated and before.boot == after.boot:
                event.before = replace(before, time=before.time + shift, dated=True)
            gap = None if event.before is None else event.lasted or _gap(event.before, event.after)
            event.lasted = _lasted(event.before, event.after, gap)
            event.lowest_at += shift
            event.computer = None if event.computer is None else event.computer + shift
            event.back = None if event.back is None else event.back + shift
            self.changed = True

    def _follow(self, sample: Sample) -> None:
        """Keep the lowest temperature, and note when it is back, for a while after an interruption."""
        event = self._watched
        if event is None or sample.temp is None:
            return
        since = sample.time - event.after.time
        if since > FOLLOWED:
            self._watched, self.changed = None, True
            return
        if event.lowest is None or sample.temp < event.lowest:
            event.lowest, event.lowest_at, self.moved = sample.temp, sample.time, True
        wanted = None if event.before is None else event.before.temp
        if wanted is None:
            return
        # A furnace may go on falling for a while, though its first reading is that of before.
        fell = event.lowest < wanted - RECOVERED
        if fell and sample.temp >= wanted - RECOVERED:
            event.back, self.moved = sample.time, True
        if event.back is not None or (not fell and since > SAGS):
            self._watched, self.changed = None, True

    def as_json(self) -> dict[str, Any]:
        """Return what has to survive, but for the last sample."""
        return {
            "count": self.count,
            "latched": self.latched,
            "history": [event.as_json() for event in self.history],
        }

    def restore(self, data: dict[str, Any]) -> None:
        """Take what ``as_json`` returned; ``last`` comes first.

        Raises KeyError, TypeError or ValueError, and changes nothing, when it is something else.
        """
        history = [Interruption.from_json(event) for event in data["history"]]
        self.count, self.latched, self.history = int(data["count"]), bool(data["latched"]), history
        event = self.event
        self._watched = event if event is not None and event.back is None else None
        if history and (self.last is None or self.last.time < history[-1].after.time):
            self.last = history[-1].after  # newer than the reading that was kept


def _rebooted(before: Sample, after: Sample) -> bool:
    """Whether the computer was started between two readings."""
    if before.boot and after.boot:
        return before.boot != after.boot
    return after.started is not None and after.started > before.time


def _gap(before: Sample, after: Sample) -> float | None:
    """Return the seconds between two readings of different runs of this program; None when the clocks cannot tell."""
    if before.boot and before.boot == after.boot and before.uptime is not None and after.uptime is not None:
        return after.uptime - before.uptime
    gap = after.time - before.time
    return gap if before.dated and after.dated and gap >= 0 else None


def _lasted(before: Sample | None, after: Sample, gap: float | None) -> float | None:
    """Return the longest that an interruption can have lasted, as the whole seconds of its times do."""
    return None if before is None or gap is None else float(math.ceil(after.time) - math.floor(before.time))


def _traces(before: Sample, after: Sample, gap: float | None) -> tuple[str, ...]:
    """Return what speaks for missing power when the flag cannot tell."""
    found = []
    running = before.program in RUNNING
    ended = before.program == "RUN" and before.left is not None and (gap is None or gap >= before.left)
    if running and after.program == "RESET" and not ended:
        found.append("the programmer was reset")
    free = not running and "REMOTE" not in (before.remote, after.remote)  # the target decides
    if free and before.mode == after.mode == "AUTO" and _fell(before.working, after.working, after.target):
        found.append("the working setpoint fell back")
    off = before.output is not None and before.output <= 0
    eased = before.mode == "MANUAL" and (after.output or 0.0) < (before.output or 0.0)
    lowered = (after.target or 0.0) < (before.target or 0.0)
    led = after.target if free or lowered else after.working
    if (before.mode == after.mode or not after.mode) and not off and not eased and _fell(before.temp, after.temp, led):
        found.append("the temperature fell while the output was on")
    return tuple(found)


def _fell(before: float | None, after: float | None, led: float | None) -> bool:
    """Whether a temperature fell, and further than to where it was ``led``."""
    if before is None or after is None:
        return False
    return min(before, before if led is None else led) - after >= FELL


_JSON = {"float": (int, float), "float | None": (int, float, type(None)), "bool": (bool,), "str": (str,)}
_TYPES = {one.name: _JSON[str(one.type)] for one in (*fields(Sample), *fields(Interruption)) if str(one.type) in _JSON}
"""Types of the fields of a Sample and an Interruption as they come from a file, which may have been edited."""


def _check(data: Mapping[str, Any]) -> None:
    """Raise ValueError for a field of another type, or a number that none of them can have."""
    for name, value in data.items():
        types = _TYPES.get(name, ())
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise ValueError(f"{name}: {value!r}")
        if isinstance(value, int | float) and not abs(value) < LATEST:
            raise ValueError(f"{name}: {value!r}")
