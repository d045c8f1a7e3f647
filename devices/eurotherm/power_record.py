"""Power interruptions of a furnace: what happened, told from the readings before and after.

No I/O and no clock: every reading comes with its Unix time, and with monotonic time for the silence before it, since
the clock of a small computer may jump after its start. What tells the cases apart (handbook HA028651):

* The controller's mains-failure flag is set by every failure and stays until its alarms are acknowledged. Newly set,
  it proves an interruption, whether or not the link was silent too.
* Silence with the flag clear is a lost link: cable, adapter or computer; the furnace went on.
* Silence with a flag that was set before says nothing. Then traces decide: the programmer was reset, the temperature
  fell. (That the remote setpoint was lost is none: it is lost with every link that is silent for some seconds.)

An interruption began after the last reading before it and had ended at the first one after it, so its duration is an
upper bound. When the computer lost its power too, the last reading before is one that was kept on disk.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import Any

LINK_NOTED = 10.0  # seconds of a lost link that are worth a report
FELL = 5.0  # C that the temperature has to fall to count as a trace of missing power
RECOVERED = 1.0  # C below the temperature before, at which it is back
FOLLOWED = 3600.0  # seconds after the return during which the lowest temperature is watched
KEPT = 50  # interruptions in the history
RUNNING = ("RUN", "HOLD")

_NUMBER, _MAYBE = (int, float), (int, float, type(None))
_TYPES: dict[str, tuple[type, ...]] = {
    "time": _NUMBER, "flag": (bool,),
    **dict.fromkeys(("temp", "target", "working", "output", "left"), _MAYBE),
    **dict.fromkeys(("mode", "remote", "program"), (str,)),
}  # fmt: skip
"""Types of the fields of a Sample as they come from a file, which somebody may have edited."""


class Kind(Enum):
    """What a silence or a flag means."""

    MAINS = "mains"
    LIKELY = "likely"
    LINK = "link"


@dataclass(frozen=True, slots=True)
class Sample:
    """The furnace at one moment; None for what is not known. ``flag`` is the controller's mains-failure flag."""

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

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Sample:
        """Rebuild a reading. Raises TypeError or ValueError when it is none."""
        for name, value in data.items():
            if not isinstance(value, _TYPES.get(name, object)) or (isinstance(value, bool) and name != "flag"):
                raise ValueError(f"{name}: {value!r}")
        return cls(**data)

    def differs(self, other: Sample) -> bool:
        """Whether a setting, a mode or the flag is another one; not so the measured values."""
        return (self.flag, self.target, self.mode, self.remote, self.program) != (
            other.flag, other.target, other.mode, other.remote, other.program,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Interruption:
    """One event; ``before`` is None when nothing is known of the time before.

    ``lasted`` is how many seconds it was at most, None when that cannot be told. ``restarted``: this program was not
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
        return cls(**data | {
            "kind": Kind(data["kind"]),
            "before": None if before is None else Sample.from_json(before),
            "after": Sample.from_json(data["after"]),
            "traces": tuple(data["traces"]),
        })  # fmt: skip


@dataclass(slots=True)
class PowerRecord:
    """Watches one furnace.

    ``quiet`` is how many seconds without a reading are silence. ``last`` is the newest sample, at the start one that
    was kept on disk; ``boot`` the Unix time at which the computer started, if known. ``changed`` is True when
    history, counter or latch have to be saved at once, ``moved`` when they have to be saved some time; whoever saves
    them clears both.
    """

    quiet: float
    last: Sample | None = None
    boot: float | None = None
    count: int = 0
    latched: bool = False
    history: list[Interruption] = field(default_factory=list)
    changed: bool = False
    moved: bool = False
    _paused: bool = False
    _lost: str = ""
    _seen: bool = False
    _seen_at: float = 0.0
    _watched: Interruption | None = None

    @property
    def event(self) -> Interruption | None:
        """The last power interruption."""
        return next((event for event in reversed(self.history) if event.kind is not Kind.LINK), None)

    @property
    def message(self) -> str:
        """The report for people: of the interruption that waits to be acknowledged, else of the last event."""
        event = self.event if self.latched else (self.history[-1] if self.history else None)
        return "" if event is None else report(event)

    def lost(self, reason: str) -> None:
        """Take note that the controller cannot be read; ``reason`` is a clause: ``the serial port was gone``."""
        if self._seen and not self._lost:
            self._lost = reason

    def paused(self) -> None:
        """Take note that nobody asks the controller any more, unless it was lost before."""
        self._paused = not self._lost

    def acknowledge(self) -> None:
        """Clear the latch."""
        self.changed, self.latched = True, False

    def observe(self, sample: Sample, now: float) -> None:
        """Take one reading; ``now`` is monotonic time in seconds."""
        before, lost, first, paused = self.last, self._lost, not self._seen, self._paused
        self.last, self._lost, self._seen, self._paused = sample, "", True, False
        gap = None if before is None else sample.time - before.time if first else now - self._seen_at
        self._seen_at = now
        silent = first or bool(lost) or (gap or 0.0) > self.quiet
        traces = _traces(before, sample) if before is not None and silent else ()
        if sample.flag and (before is None or not before.flag):
            self._open(Kind.MAINS, before, sample, gap, traces, lost, first)
        elif sample.flag and traces:
            self._open(Kind.LIKELY, before, sample, gap, traces, lost, first)
        elif silent and not first and not paused and (gap or 0.0) >= LINK_NOTED:
            self._open(Kind.LINK, before, sample, gap, traces, lost, first)
        self._follow(sample)

    def _open(
        self,
        kind: Kind,
        before: Sample | None,
        after: Sample,
        gap: float | None,
        traces: tuple[str, ...],
        lost: str,
        first: bool,
    ) -> None:
        known = before is not None
        computer = self.boot if first and before is not None and self.boot and self.boot > before.time else None
        event = Interruption(
            kind,
            before,
            after,
            gap if gap is None or gap >= 0 else None,
            traces,
            restarted=first and known,
            computer=computer,
            link=lost,
            lowest=after.temp,
            lowest_at=after.time,
        )
        self.history = [*self.history, event][-KEPT:]
        self.changed = True
        if kind is not Kind.LINK:
            self.count += 1
            self.latched = True
            self._watched = event

    def _follow(self, sample: Sample) -> None:
        """Keep the lowest temperature, and note when it is back, for a while after an interruption."""
        event = self._watched
        if event is None or sample.temp is None:
            return
        if sample.time - event.after.time > FOLLOWED:
            self._watched, self.changed = None, True
            return
        news = event
        if event.lowest is None or sample.temp < event.lowest:
            news = replace(news, lowest=sample.temp, lowest_at=sample.time)
        wanted = None if event.before is None else event.before.temp
        if wanted is not None and sample.temp >= wanted - RECOVERED:
            news = replace(news, back=sample.time)
        if news is not event:
            self.history = [news if old is event else old for old in self.history]
            self.moved = True
        self._watched = news if news.back is None else None
        self.changed = self.changed or news.back is not None

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


def _traces(before: Sample, after: Sample) -> tuple[str, ...]:
    """Return what speaks for missing power when the flag cannot tell."""
    found = []
    if before.program in RUNNING and after.program == "RESET":
        found.append("the programmer was reset")
    if before.temp is not None and after.temp is not None and before.temp - after.temp >= FELL:
        lowered = before.target is not None and after.target is not None and after.target < before.target
        cooling = before.output is not None and before.output <= 0
        ramping = before.program in RUNNING and (after.working or 0.0) < (before.working or 0.0)
        if not lowered and not cooling and not ramping:
            found.append("the temperature fell while the output was on")
    return tuple(found)


# ---- the report


def report(event: Interruption) -> str:
    """Tell an event in words."""
    parts = [_headline(event), _evidence(event), *_computer(event)]
    if event.kind is Kind.LINK:
        return " ".join([*parts, _furnace_went_on(event)])
    return " ".join([*parts, *_temperatures(event), *_settings(event), *_program(event)])


def _headline(event: Interruption) -> str:
    before, after = event.before, event.after
    what = {
        Kind.MAINS: "Power interruption", Kind.LIKELY: "Probable power interruption", Kind.LINK: "Link lost"
    }[event.kind]  # fmt: skip
    if before is None:
        return f"{what} at some time before {moment(after.time)}: the record begins there."
    if event.lasted is None:
        return f"{what} before {moment(after.time)}, last reading {moment(before.time)}: the clock cannot be right."
    lasted = f"{'' if event.kind is Kind.LINK else 'at most '}{span(event.lasted)}"
    return f"{what} between {moment(before.time)} and {moment(after.time)}, {lasted}."


def _evidence(event: Interruption) -> str:
    if event.kind is Kind.LINK:
        flag = "was set before already" if event.after.flag else "is clear"
        text = f"Not a power interruption as far as can be told: the controller's mains flag {flag}."
    elif event.kind is Kind.LIKELY:
        text = f"The mains flag was set before already, but {' and '.join(event.traces)}."
    else:
        text = "The controller's mains flag says so."
    return f"{text} Meanwhile {event.link}." if event.link else text


def _computer(event: Interruption) -> list[str]:
    if event.computer is not None:
        return [f"The computer was off too, it started at {moment(event.computer)}; the reading before is from disk."]
    if event.restarted:
        return ["This server was not running in between; the reading before is from disk."]
    return [] if event.kind is Kind.LINK or event.before is None else ["The computer kept running."]


def _furnace_went_on(event: Interruption) -> str:
    before, after = event.before, event.after
    change = f"{degrees(before.temp if before else None)} before, {degrees(after.temp)} after"
    if event.traces:
        return f"Temperature {change}; {' and '.join(event.traces)}: look at the heater supply."
    return f"Temperature {change}: the furnace went on."


def _temperatures(event: Interruption) -> list[str]:
    text = (
        f"Temperature {degrees(event.before.temp if event.before else None)} before, {degrees(event.after.temp)} after"
    )
    if event.lowest is not None and event.lowest != event.after.temp:
        text += f", lowest {degrees(event.lowest)} at {moment(event.lowest_at)}"
    if event.back is not None:
        text += f", back at {moment(event.back)}"
    return [text + "."]


def _settings(event: Interruption) -> list[str]:
    before, after = event.before, event.after
    found = [_change("Setpoint", degrees(before.target) if before else "unknown", degrees(after.target))]
    found.append(_change("Mode", before.mode if before else "unknown", after.mode))
    if after.remote == "REMOTE" or (before is not None and before.remote == "REMOTE"):
        found.append(_change("Setpoint source", before.remote if before else "unknown", after.remote))
    return found


def _change(what: str, before: str, after: str) -> str:
    before, after = before or "unknown", after or "unknown"
    return f"{what} {after} as before." if before == after else f"{what} {before} before, {after} after."


def _program(event: Interruption) -> list[str]:
    before, after = event.before, event.after
    was = before.program if before else ""
    if was not in RUNNING:
        return [f"Programmer {after.program or 'unknown'}."] if after.program not in ("RESET", "") else []
    left = f" with {span(before.left)} left" if before is not None and before.left is not None else ""
    state = "running" if was == "RUN" else "in hold"
    if after.program == "RESET":
        return [f"The programmer was {state}{left} and is reset now: start it by hand."]
    return [f"The programmer was {state}{left} and is in {after.program or 'an unknown state'} now."]


def moment(stamp: float) -> str:
    """Return Unix time as people read it, in the computer's time zone."""
    return datetime.fromtimestamp(stamp).strftime("%Y-%m-%d %H:%M:%S")


def span(seconds: float) -> str:
    """Return a duration as people say it: ``1 h 20 min``, ``95 s``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def degrees(value: float | None) -> str:
    """Return a temperature with its unit."""
    return "unknown" if value is None else f"{value:.1f} C"
