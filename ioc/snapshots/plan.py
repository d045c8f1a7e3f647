"""The plan of a restore: which values are written, in which order. It is made whole, or not at all.

Within a device: OFF first; limits, ramps and other settings; then values; ON last. A limit that is tightened comes
after a value that moves away from it, and waits while the output moves: no value is ever outside a limit in force.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from ioc.client.reading import Scalar
from ioc.database.support import HIGH_LIMIT, LOW_LIMIT, RAMP, RANGE, VALUE
from ioc.export.plant import MODE, OUTPUT, Setting
from ioc.snapshots.present import Present, equal, scalar, shown
from ioc.snapshots.snapshot import Saved, Snapshot

OFF: Final = 0
"""Index of the state of a switch that is off."""


_TIGHTENS: Final = {HIGH_LIMIT: -1, LOW_LIMIT: 1, RANGE: 1}
"""Direction in which a limit, or a range of limits, becomes narrower."""

_AWAY: Final = {HIGH_LIMIT: -1, LOW_LIMIT: 1, RANGE: -1}
"""Direction in which a value moves away from it."""


@dataclass(frozen=True, slots=True)
class Step:
    """One put of a plan, from the value before; ``direction`` is 1 for up, -1 for down, 0 for what has none."""

    present: Present
    value: Scalar
    before: Scalar
    direction: int

    @property
    def pv(self) -> str:
        """What is written."""
        return self.present.pv

    @property
    def setting(self) -> Setting:
        """The setting that it is of."""
        return self.present.setting

    @property
    def tightens(self) -> bool:
        """Whether it makes a limit, or a range of limits, narrower."""
        return self.direction == _TIGHTENS.get(self.setting.part)

    @property
    def await_rest(self) -> str:
        """The PV that has to be 0 before, empty without: the output moves while it is not."""
        channel = self.setting.channel
        return channel.records["MOVING"].name if self.tightens and channel and "MOVING" in channel.records else ""

    def text(self, value: Scalar) -> str:
        """Return a value as people read it, with its unit."""
        reading = self.present.value
        assert reading is not None
        return shown(value, reading)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a restore does. ``in_force`` counts settings that are as in the snapshot, ``outputs`` those left alone."""

    steps: tuple[Step, ...]
    in_force: int
    outputs: tuple[str, ...]


def selected(
    snapshot: Snapshot, known: Mapping[str, Setting], aliases: Mapping[str, str], prefix: str
) -> tuple[dict[str, Saved], list[str]]:
    """Return the settings of a snapshot by the names of the site, and what is wrong with the others."""
    if snapshot.prefix not in ("", prefix):
        return {}, [f"it is of another site: found prefix {snapshot.prefix}, the site has {prefix}"]
    found: dict[str, Saved] = {}
    errors = []
    for saved in snapshot.settings:
        name = aliases.get(saved.pv, saved.pv)
        if name not in known:
            errors.append(f"{saved.pv}: the site has no such setting")
        elif name in found:
            errors.append(f"{saved.pv}: {name} is in the file twice, once by its alias")
        else:
            found[name] = saved
    return found, errors


def mistakes(saved: Saved, present: Present) -> Iterator[str]:
    """Yield why a saved value cannot be compared with what is in force."""
    reading, demand = present.value, present.demand
    if reading is None or demand is None:
        yield f"{present.pv}: {present.trouble.text if present.trouble else 'never read'}"
        return
    now = scalar(reading)
    if saved.units is not None and saved.units != reading.meta.units:
        yield f"{present.pv}: found the unit {saved.units!r} in the file, it has {reading.meta.units!r}"
    if isinstance(now, str) != isinstance(saved.value, str):
        yield f"{present.pv}: found {saved.value!r} in the file, it has {now!r}"
    elif demand.meta.states and saved.value not in demand.meta.states:
        yield f"{present.pv}: found {saved.value!r} in the file, allowed: {', '.join(demand.meta.states)}"


def make(found: Mapping[str, Saved], present: Mapping[str, Present], outputs: bool) -> tuple[Plan, list[str]]:
    """Return the plan that puts these values in force, and why there can be none.

    Outputs are switched with ``outputs`` only.
    """
    errors: list[str] = []
    steps: list[Step] = []
    in_force, left = 0, []
    for name, one in present.items():  # in the order of the site
        saved = found[name]
        wrong = list(mistakes(saved, one))
        errors += wrong
        if wrong:
            continue
        step, part = _step(saved, one), one.setting.part
        if step is None:
            in_force += 1
        elif part == MODE:
            what = f"{name} is {step.before} and was {step.value}"
            errors.append(f"{what}, which other settings depend on: put it back first")
        elif part == OUTPUT and not outputs:
            left.append(name)
        elif saved.restored or part == OUTPUT:
            steps.append(step)
            if not one.writable:
                errors.append(f"{name}: this client may not write it")
    errors += _outside(steps)
    devices = groupby(steps, key=lambda one: one.setting.device.name)
    return Plan(tuple(step for _, mine in devices for step in _ordered(list(mine))), in_force, tuple(left)), errors


def _step(saved: Saved, present: Present) -> Step | None:
    reading, demand = present.value, present.demand
    assert reading is not None
    assert demand is not None
    now, target = scalar(reading), saved.value
    if equal(target, now, reading):
        return None
    old, new = (_place(one, demand.meta.states) for one in (now, target))
    return Step(present, target, now, (new > old) - (new < old))


def _place(value: Scalar, states: Sequence[str]) -> float:
    """Return where a value lies; a state by its number, a text has no place."""
    if isinstance(value, str):
        return states.index(value) if value in states else 0.0
    return value


def _outside(steps: Sequence[Step]) -> Iterator[str]:
    """Yield values outside the limits in force; where a limit of theirs is part of the plan the server will judge."""
    moving = {one.setting.owner for one in steps if one.setting.part in _TIGHTENS}
    for one in steps:
        demand = one.present.demand
        low, high = demand.meta.limits.get("control", (0.0, 0.0)) if demand is not None else (0.0, 0.0)
        free = one.setting.owner in moving and one.setting.part in (VALUE, HIGH_LIMIT, LOW_LIMIT)
        if isinstance(one.value, str) or low >= high or free or low <= one.value <= high:
            continue
        limits = f"the limits in force are {low:.10g} to {high:.10g}"
        yield f"{one.pv}: found {one.value:.10g} in the file, {limits}"


def _ordered(steps: Sequence[Step]) -> list[Step]:
    """Return the steps of one device in the order in which they are safe."""
    late = {owner for owner in {one.setting.owner for one in steps} if _tightens_late(steps, owner)}

    def rank(one: Step) -> tuple[int, int]:
        if one.setting.part == OUTPUT:
            return (-1, 0) if _switches_off(one) else (9, 0)
        if one.setting.part == VALUE:
            return 2, 0
        phase = 3 if one.tightens and one.setting.owner in late else 1
        if one.setting.part == RANGE:
            return phase, 3 if one.tightens else 0
        return phase, 1 if one.setting.part in (HIGH_LIMIT, LOW_LIMIT) else 4 if one.setting.part == RAMP else 2

    return sorted(steps, key=rank)


def _tightens_late(steps: Iterable[Step], owner: str) -> bool:
    """Whether a value of an owner moves away from a limit that is tightened, which has to wait for it then."""
    mine = [one for one in steps if one.setting.owner == owner]
    ways = {one.direction for one in mine if one.setting.part == VALUE}
    return any(one.tightens and _AWAY[one.setting.part] in ways for one in mine)


def _switches_off(one: Step) -> bool:
    demand = one.present.demand
    assert demand is not None
    return demand.meta.states.index(str(one.value)) == OFF
