"""``[[group]]``: channels and furnaces that are moved together, from the site file to what a sequence needs.

One reading of the section gives the groups and every mistake in them, so that what is checked is what is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any, Final

from ioc.site import keys
from ioc.site.contents import Table, is_number, table, tables
from ioc.site.members import FURNACE, SUPPLY, Candidate, Reader, candidates
from ioc.site.sentences import in_words
from ioc.site.source import KeyPath

KEEP: Final = "keep"
OFF: Final = "off"
Target = float | str
"""Where a member goes: a value of its setting (V or C), ``keep`` for the one it has, or ``off``."""

STATES: Final = ("OFF", "STANDBY", "ON")
"""What a group can be put to, in the order of the states of GO."""

TIMEOUT: Final = 3600.0
"""Usual seconds that one stage may take."""

SETTING: Final = {SUPPLY: "VSET", FURNACE: "TSET"}
"""The setting of a member of each kind."""

_UNIT: Final = {SUPPLY: "V", FURNACE: "C"}
_NO_MEMBER: Final = "no member of the group"


@dataclass(frozen=True, slots=True)
class MemberSettings:
    """One member: ``base`` is its name without prefix (``HV1:CH03``, ``FURN1``), ``title`` its alias if it has one.

    ``targets`` holds where it goes for each of the ``STATES`` that the group has; ``safe`` is the temperature in C to
    which a furnace goes when it is made safe.
    """

    base: str
    kind: str
    title: str
    targets: Mapping[str, Target]
    safe: float | None = None

    @property
    def device(self) -> str:
        """Name of its device."""
        return self.base.partition(":")[0]


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Members of which each two that follow one another may differ by at most ``difference`` V."""

    names: tuple[str, ...]
    difference: float


@dataclass(frozen=True, slots=True)
class Group:
    """One group. ``stages`` are the bases of its members in the order up; down it is the other way round.

    ``on_trip`` is hold, standby or off; ``timeout`` the seconds that a stage may take.
    """

    name: str
    members: Mapping[str, MemberSettings]
    stages: tuple[tuple[str, ...], ...]
    neighbours: tuple[Neighbours, ...] = ()
    on_trip: str = "hold"
    timeout: float = TIMEOUT

    @property
    def states(self) -> tuple[str, ...]:
        """The states that it can be put to."""
        return tuple(state for state in STATES if all(state in one.targets for one in self.members.values()))

    @property
    def devices(self) -> frozenset[str]:
        """Names of the devices of its members."""
        return frozenset(member.device for member in self.members.values())


def group_schema() -> keys.Schema:
    """Return the schema of the ``[[group]]`` sections."""
    pattern = 'Names or aliases of channels or furnaces without the prefix, with * ? [...]: ["CALO:*"]'
    number, about = keys.key("number", minimum=0), 'a number in V or C, or "keep" for the setting that it has'
    targets = {
        "standby": {"anyOf": [number, {"enum": [KEEP, OFF]}], "description": f'Setting in STANDBY: {about}, or "off"'},
        "on": {"anyOf": [number, {"enum": [KEEP]}], "description": f"Setting in ON: {about}"},
    }
    off = keys.choice([OFF, KEEP], "In OFF: off (a furnace is made safe), or, for a furnace, keep", default=OFF)
    difference = keys.key("number", "Largest difference in V", exclusiveMinimum=0, maximum=1e6)
    neighbours = {"names": keys.names("Each two that follow one another", least=2), "max_difference": difference}
    properties = {
        "name": keys.name("Capital letters, digits and _; not ALL"),
        "members": keys.names(pattern),
        **targets,
        "order": keys.several(
            {"anyOf": [keys.text(), keys.names(pattern)], "description": pattern},
            "The stages up, each a name or a list of names; the next begins when all of one "
            "have arrived. Down it is reversed. All at once when left out",
            minItems=1,
        ),
        "on_trip": keys.choice(
            ["hold", "standby", "off"],
            "What the others do when a member trips: stop ramping, go to STANDBY, or OFF",
            default="hold",
        ),
        "timeout": keys.key(
            "number",
            "Seconds that one stage may take, before it is held",
            exclusiveMinimum=0,
            maximum=604800,
            default=TIMEOUT,
        ),
        "neighbours": keys.several(
            keys.table(neighbours, required=["names", "max_difference"]),
            "Channels whose voltages must not differ by more while they ramp",
        ),
        "member": keys.key(
            "object",
            "Settings of single members, by name, alias or pattern",
            additionalProperties=keys.table({**targets, "off": off}),
        ),
    }
    group = keys.table(properties, "A group; no safety system", required=["name", "members"])
    return keys.several(group, "Channels and furnaces that are moved together by GRP:NAME:GO")


def groups_of(data: Table) -> tuple[list[Group], list[tuple[KeyPath, str]]]:
    """Return the groups of a site file, and every mistake that a schema cannot find: path of the key, and the text."""
    groups: list[Group] = []
    mistakes: list[tuple[KeyPath, str]] = []
    sections = [(index, section) for index, section in tables(data, "group") if isinstance(section.get("name"), str)]
    everything = list(candidates(data)) if sections else []
    for index, section in sections:
        reader = _GroupReader(data, section, index, everything)
        group = reader.read()
        if group.name in {"ALL", *(one.name for one in groups)} or group.name.startswith("ALL_"):
            taken = "which is that of everything off" if group.name.startswith("ALL") else "which is already a group"
            reader.bad(f"found {in_words(group.name)}, {taken}", "name")
        groups.append(group)
        mistakes += reader.mistakes
    return groups, mistakes


class _GroupReader(Reader):
    """Reads one group."""

    def __init__(self, data: Table, section: Table, index: int, everything: Sequence[Candidate]) -> None:
        super().__init__(data, section, "group", index)
        self._all = everything
        self._members: dict[str, Candidate] = {}

    def read(self) -> Group:
        """Return the group, as far as it can be understood."""
        for _, found in self.named(self.section.get("members"), self._all, "no channel or furnace", "members"):
            self._members.update((one.base, one) for one in found)
        members = {base: self._member(one) for base, one in self._members.items()}
        timeout = self.section.get("timeout")
        group = Group(
            str(self.section["name"]),
            members,
            self._stages(),
            tuple(self._neighbours()),
            str(self.section.get("on_trip", "hold")),
            float(timeout) if is_number(timeout) else TIMEOUT,
        )
        self._check(group)
        return group

    def _member(self, one: Candidate) -> MemberSettings:
        """Return a member with its targets: its own settings go before those of the group, the last pattern wins."""
        own: dict[str, tuple[Any, KeyPath]] = {
            key: (self.section[key], (key,)) for key in ("standby", "on") if key in self.section
        }
        for pattern, values in table(self.section, "member").items():
            if one.named(self.bare(pattern)) and isinstance(values, dict):
                own |= {key: (value, ("member", pattern, key)) for key, value in values.items()}
        if one.readonly:
            self.bad(f"{one.title} can't be moved, {one.device} is readonly", "members")
        targets: dict[str, Target] = {"OFF": OFF, "ON": KEEP}
        for key, (value, path) in own.items():
            if is_number(value) or value in (KEEP, OFF):
                targets[key.upper()] = float(value) if is_number(value) else value
                self._check_target(one, key, value, path)
        if targets["ON"] == KEEP and targets.get("STANDBY", KEEP) != KEEP and is_number(targets["STANDBY"]):
            text = f"missing for {one.title}, allowed: a number, since STANDBY changes its setting"
            self.bad(text, *own["on"][1] if "on" in own else ("on",))
        if one.kind == FURNACE and OFF in targets.values() and one.safe is None:
            text = f'{one.base} has no safe_temperature to go to, allowed: that, or off = "keep" for it'
            self.bad(text, "members")
        return MemberSettings(one.base, one.kind, one.title, targets, one.safe)

    def _check_target(self, one: Candidate, key: str, value: Any, path: KeyPath) -> None:
        if key == "off" and value == KEEP and one.kind != FURNACE:
            self.bad(f'found "keep" for {one.title}, allowed: "off", which is what OFF is for a channel', *path)
        if is_number(value) and len(path) == 1 and len({member.kind for member in self._members.values()}) > 1:
            self.bad(f"found {in_words(value)} for members in V and in C, allowed: numbers by member", *path)
        if is_number(value) and one.limits is not None and not one.limits[0] <= value <= one.limits[1]:
            low, high = one.limits
            limits = f"{low:g} to {high:g} {_UNIT[one.kind]} (limits.{SETTING[one.kind]})"
            self.bad(f"found {in_words(value)} for {one.title}, allowed: {limits}", *path)

    def _stages(self) -> tuple[tuple[str, ...], ...]:
        if not isinstance(self.section.get("order"), list):
            return (tuple(self._members),)
        members = list(self._members.values())
        stages: list[tuple[str, ...]] = []
        placed: dict[str, int] = {}
        for index, entry in enumerate(self.section["order"]):
            stage: dict[str, None] = {}
            for pattern, found in self.named(entry, members, _NO_MEMBER, "order", index):
                for base in (one.base for one in found):
                    if base in placed and placed[base] != index:
                        text = f"found {in_words(pattern)}, but {base} is in stage {placed[base] + 1} already"
                        self.bad(text, "order", index)
                    elif base not in placed:
                        placed[base] = index
                        stage[base] = None
            stages.append(tuple(stage))
        if missing := [base for base in self._members if base not in placed]:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            self.bad(f"{missing[0]}{more} of the members missing, allowed: every member in one stage", "order")
        return tuple(stage for stage in stages if stage)

    def _neighbours(self) -> Iterator[Neighbours]:
        supplies = [one for one in self._members.values() if one.kind == SUPPLY]
        for index, entry in tables(self.section, "neighbours"):
            if not is_number(entry.get("max_difference")):
                continue
            bases = []
            place = ("neighbours", index, "names")
            for pattern, found in self.named(entry.get("names"), supplies, _NO_MEMBER, *place):
                if len(found) > 1:
                    text = f"found {in_words(pattern)}, which is {len(found)} channels, allowed: one channel each"
                    self.bad(text, *place)
                bases += [one.base for one in found[:1]]
            yield Neighbours(tuple(bases), float(entry["max_difference"]))

    def _check(self, group: Group) -> None:
        """Find what is wrong with the whole: values that only some members have, differences that cannot be kept."""
        members = list(self._members.values())
        for pattern in table(self.section, "member"):
            if not any(one.named(self.bare(pattern)) for one in members):
                self.unknown(pattern, members, _NO_MEMBER, "member", pattern)
        without = [one.title for one in group.members.values() if "STANDBY" not in one.targets]
        if without and len(without) < len(group.members):
            self.bad(f"missing for {without[0]}, allowed: for all members or none", "standby")
        if group.on_trip == "standby" and "STANDBY" not in group.states and group.members:
            self.bad('found "standby", but the group has no standby values', "on_trip")
        for index, chain in enumerate(group.neighbours):
            for text in _differences(group, chain):
                self.bad(text, "neighbours", index, "max_difference")


def _differences(group: Group, chain: Neighbours) -> Iterator[str]:
    """Say where two neighbours would differ by more than they may: in a state, or on the way between two stages."""
    members = [group.members[base] for base in dict.fromkeys(chain.names)]
    for member in members:
        if KEEP in (member.targets.get(state) for state in ("STANDBY", "ON")):
            yield f"{member.title} keeps its setting, allowed: numbers for standby and on of neighbours"
            return
    for before, state in combinations(group.states, 2):
        volts = {member.base: _volts(member.targets[before]) for member in members}
        for number, stage in enumerate(group.stages, 1):
            volts |= {base: _volts(group.members[base].targets[state]) for base in stage if base in volts}
            for one, other in pairwise(chain.names):
                difference = abs(volts[one] - volts[other])
                if difference > chain.difference:
                    names = f"{group.members[one].title} and {group.members[other].title}"
                    when = f"in {state}" if number == len(group.stages) else f"from {before} to {state}, stage {number}"
                    yield f"{names} differ by {difference:g} V {when}, allowed: {chain.difference:g}"
                    return


def _volts(target: Target) -> float:
    return target if isinstance(target, float) else 0.0
