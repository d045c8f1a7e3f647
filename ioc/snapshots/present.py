"""What is in force now: the settings of a running site, read over Channel Access."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Final

from ioc.client import Channel, Client, ReadError, Reading
from ioc.client.reading import Scalar
from ioc.export.plant import Setting
from ioc.records.status import INVALID, alarm_status
from ioc.snapshots.snapshot import Saved, plain

_READ: Final = alarm_status("READ")


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a PV has no value that can be used; ``lacking`` when its device is there and does not have it."""

    text: str
    lacking: bool = False


@dataclass(frozen=True, slots=True)
class Present:
    """A setting as it is: ``demand`` is the setting itself, ``value`` its read-back where there is one.

    ``trouble`` is why it cannot be used, and there is no reading then.
    """

    setting: Setting
    demand: Reading | None = None
    value: Reading | None = None
    writable: bool = False
    trouble: Trouble | None = None

    @property
    def pv(self) -> str:
        """Name of the setting."""
        return self.setting.record.name


async def look(client: Client, settings: Sequence[Setting], timeout: float) -> dict[str, Present]:
    """Read settings with their read-backs; returns them by the name of the setting.

    As long as PVs connect it waits for the others, ``timeout`` seconds each time: thousands take their time.
    """
    names = [one.record.name for one in settings]
    names += [one.readback.name for one in settings if one.readback is not None]
    missing = len(names) + 1
    while True:
        channels = {channel.name: channel for channel in await client.connect(names, timeout)}
        before, missing = missing, sum(not channel.connected for channel in channels.values())
        if not 0 < missing < before:
            break
    found = await client.read(channels.values(), timeout)
    readings = dict(zip(channels, map(_judged, found), strict=True))
    return {one.record.name: _present(one, channels, readings) for one in settings}


async def read(channel: Channel, timeout: float) -> Reading | Trouble:
    """Return a reading that says something, or why there is none."""
    try:
        return _judged(await channel.read(timeout))
    except ReadError as error:
        return _judged(error)


def _judged(reading: Reading | ReadError) -> Reading | Trouble:
    if isinstance(reading, ReadError):
        return Trouble(str(reading))
    if reading.severity >= INVALID or not reading.stamp:
        return Trouble(f"not known now ({reading.alarm or 'never read'})", reading.status == _READ)
    if isinstance(reading.value, tuple):
        return Trouble("an array, which is no setting")
    return reading


def _present(setting: Setting, channels: Mapping[str, Channel], readings: Mapping[str, Reading | Trouble]) -> Present:
    name = setting.record.name
    demand = readings[name]
    value = readings[setting.readback.name] if setting.readback is not None else demand
    if isinstance(demand, Trouble):
        return Present(setting, trouble=demand)
    if isinstance(value, Trouble):
        return Present(setting, trouble=replace(value, text=f"its read-back is {value.text}"))
    return Present(setting, demand, value, channels[name].writable)


def saved(present: Present) -> Saved:
    """Return a setting as a snapshot has it; it must have been read."""
    demand, value = present.demand, present.value
    assert demand is not None
    assert value is not None
    readback = present.setting.readback
    return Saved(
        present.pv, scalar(value), value.meta.units, present.setting.restored, scalar(demand),
        readback.name if readback is not None else "", value.stamp, value.severity_name, value.meta.states,
    )  # fmt: skip


def scalar(reading: Reading) -> Scalar:
    """Return the value of a reading that ``read`` has let through."""
    found = plain(reading)
    assert not isinstance(found, tuple)
    return found


def shown(value: Scalar, reading: Reading) -> str:
    """Return a value as people read it, with the digits and the unit of its PV."""
    return replace(reading, value=value, meta=replace(reading.meta, states=())).quantity


def equal(one: Scalar, other: Scalar, reading: Reading) -> bool:
    """Whether two values of a PV are the same: numbers within half a digit of those that it shows."""
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    digits = reading.meta.precision
    width = 0.5 * 10.0**-digits if digits > 0 and isinstance(reading.value, float) else 1e-9 * max(abs(one), abs(other))
    return abs(one - other) <= width * (1 + 1e-9)


def matching(settings: Iterable[Setting], patterns: Sequence[str], prefix: str) -> list[Setting]:
    """Return the settings whose name or alias matches one of the patterns, with or without prefix; all without any."""

    def matches(one: Setting) -> bool:
        names = (one.record.name, *one.record.aliases)
        forms = [form for pattern in patterns for form in (pattern, f"{prefix}:{pattern}")]
        return any(fnmatchcase(name, form) for name in names for form in forms)

    return [one for one in settings if not patterns or matches(one)]
