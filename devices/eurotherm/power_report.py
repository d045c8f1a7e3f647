"""A power interruption of a furnace in words."""

from __future__ import annotations

import math
from datetime import datetime

from devices.eurotherm.power_record import MAINS_KINDS, RUNNING, Interruption, Kind, Sample

NOTHING = Sample(0.0, False)
"""What is known of the time before a record begins."""


def report(event: Interruption) -> str:
    """Return an event in words."""
    before, after = event.before or NOTHING, event.after
    temperatures = f"Temperature {degrees(before.temp)} before, {degrees(after.temp)} after"
    parts = [_headline(event), _evidence(event), *_computer(event)]
    if event.kind in MAINS_KINDS:
        parts += [temperatures + _recovery(event), *_settings(before, after), *_program(before, after)]
    elif event.traces:
        parts.append(f"{temperatures}; {' and '.join(event.traces)}: look at the heater supply.")
    else:
        parts.append(temperatures + ("." if event.kind is Kind.UNKNOWN else ": the furnace went on."))
    return " ".join(parts)


_WHAT = {
    Kind.MAINS: "Power interruption",
    Kind.LIKELY: "Probable power interruption",
    Kind.LINK: "Link lost",
    Kind.UNKNOWN: "Link lost",
}


def _headline(event: Interruption) -> str:
    before, after, what = event.before, event.after, _WHAT[event.kind]
    if before is None:
        return f"{what} at some time before {moment(after.time)}: the record begins there."
    if not after.dated and event.lasted is None:
        return f"{what} after {moment(before.time)}, for an unknown time: the computer's clock is not set yet."
    if event.lasted is None:
        why = "the clock cannot be right" if before.dated else "the computer's clock was not set then"
        return f"{what} before {moment(after.time)}, last reading {moment(before.time)}: {why}."
    lasted = f"{'at most ' if event.kind in MAINS_KINDS else ''}{span(event.lasted)}"
    clock = "" if after.dated else " by a clock that is not set yet"
    return f"{what} between {moment(math.floor(before.time))} and {moment(math.ceil(after.time))}{clock}, {lasted}."


def _evidence(event: Interruption) -> str:
    text = {
        Kind.MAINS: "The controller's mains flag says so.",
        Kind.LIKELY: "The mains flag was set before already, but " if event.after.flag else
        "The mains flag is clear, perhaps acknowledged at the controller, but ",
        Kind.LINK: "Not a power interruption as far as is known: the controller's mains flag is clear.",
        Kind.UNKNOWN: "Whether the mains failed too is not known, since the controller's mains flag was set before "
        "already: acknowledge with ACK:CMD.",
    }[event.kind]  # fmt: skip
    if event.kind is Kind.LIKELY:
        text += f"{' and '.join(event.traces)}."
    return f"{text} Meanwhile {event.link}." if event.link else text


def _computer(event: Interruption) -> list[str]:
    if event.computer is not None:
        when = f", it started at {moment(event.computer)}" if event.after.dated else ""
        return [f"The computer was off too{when}; the reading before is from disk."]
    if event.restarted:
        return ["This server was not running in between; the reading before is from disk."]
    return [] if event.kind not in MAINS_KINDS or event.before is None else ["The computer kept running."]


def _recovery(event: Interruption) -> str:
    text = ""
    if event.lowest is not None and event.lowest != event.after.temp:
        text += f", lowest {degrees(event.lowest)} at {moment(math.ceil(event.lowest_at))}"
    if event.back is not None:
        text += f", back at {moment(math.ceil(event.back))}"
    return text + "."


def _settings(before: Sample, after: Sample) -> list[str]:
    found = [
        _change("Setpoint", degrees(before.target), degrees(after.target)),
        _change("Mode", before.mode, after.mode),
    ]
    if "REMOTE" in (before.remote, after.remote):
        found.append(_change("Setpoint source", before.remote, after.remote))
    return found


def _change(what: str, before: str, after: str) -> str:
    before, after = before or "unknown", after or "unknown"
    return f"{what} {after} as before." if before == after else f"{what} {before} before, {after} after."


def _program(before: Sample, after: Sample) -> list[str]:
    if before.program not in RUNNING:
        return [f"Programmer {after.program or 'unknown'}."] if after.program not in ("RESET", "") else []
    left = "" if before.left is None else f" with {span(before.left)} left"
    was = f"The programmer was {'running' if before.program == 'RUN' else 'in hold'}{left} and is"
    if after.program == "RESET":
        return [f"{was} reset now: start it by hand."]
    return [f"{was} in {after.program or 'an unknown state'} now."]


def moment(stamp: float) -> str:
    """Return Unix time as text, in the computer's time zone."""
    return datetime.fromtimestamp(stamp).strftime("%Y-%m-%d %H:%M:%S")


def span(seconds: float) -> str:
    """Return a duration, never a shorter one: ``1 h 20 min``, ``95 s``."""
    if seconds < 120:
        return f"{math.ceil(seconds)} s"
    minutes = math.ceil(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def degrees(value: float | None) -> str:
    """Return a temperature with its unit."""
    return "unknown" if value is None else f"{value:.1f} C"
