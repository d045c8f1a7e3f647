"""``[[interlock]]``: a condition over PVs and what is done while it does not hold, from the site file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from devices.registry import FAMILIES
from ioc.database.dbfile import RecordDef
from ioc.site import keys
from ioc.site.conditions import Change, Comparison, Condition, leaves, parse_condition, plain_unit, renamed
from ioc.site.contents import Table, channel_count, channels, listed, prefix, tables
from ioc.site.groups import Group, MemberSettings, groups_of
from ioc.site.keys import RESERVED
from ioc.site.members import FURNACE, SUPPLY, Candidate, Reader, candidates
from ioc.site.sentences import did_you_mean, in_words
from ioc.site.source import KeyPath
from ioc.site.templates import family_records, labels

REFUSE, RAMP_DOWN, OFF, STANDBY, SAFE = "refuse", "ramp-down", "off", "standby", "safe"
ACTIONS: Final = {
    REFUSE: "switching on is refused",
    RAMP_DOWN: "the voltage is set to 0",
    OFF: "switched off",
    STANDBY: "the group goes to STANDBY",
    SAFE: "the furnace is made safe",
}
"""What an interlock does while its condition does not hold; each of them also refuses what would go the other way."""

BYPASS_SECONDS: Final = 600.0
"""Usual seconds after which a bypass ends by itself."""


@dataclass(frozen=True, slots=True)
class Interlock:
    """One interlock. ``members`` is what it acts on; ``group`` the name of that group, empty when there is none.

    All times are in seconds: it acts when the condition has not held for ``act_after``, and is released when it has
    held again for ``ok_after``, with ``latch`` after an acknowledgement. A bypass lasts ``bypass``, 0 permits none.
    """

    name: str
    text: str
    condition: Condition
    action: str
    members: tuple[MemberSettings, ...]
    group: str = ""
    act_after: float = 0.0
    ok_after: float = 0.0
    latch: bool = True
    bypass: float = BYPASS_SECONDS

    @property
    def devices(self) -> frozenset[str]:
        """Names of the devices that it acts on."""
        return frozenset(member.device for member in self.members)


def interlock_schema() -> keys.Schema:
    """Return the schema of the ``[[interlock]]`` sections."""

    def seconds(default: float, about: str) -> keys.Schema:
        return keys.key("number", about, minimum=0, maximum=86400, default=default)

    properties = {
        "name": keys.name("Capital letters, digits and _, e.g. COLD for ILK:COLD:OK"),
        "condition": keys.text('What has to hold: "FURN1:TEMP < 80 C hysteresis 2 and GAS:FLOW > 5 l/h for 10 s"'),
        "action": keys.choice(ACTIONS, "; ".join(f"{action}: {what}" for action, what in ACTIONS.items())),
        "members": keys.names("Channels, or furnaces, by name, alias or pattern"),
        "group": keys.key("string", "Name of a group to act on, in place of members"),
        "act_after": seconds(0, "Seconds not OK after which it acts"),
        "ok_after": seconds(0, "Seconds OK after which it counts as OK again"),
        "latch": keys.flag(True, "Stay not OK until it is acknowledged by ACK:CMD"),
        "bypass_seconds": seconds(BYPASS_SECONDS, "How long an expert can bypass it by BYPASS; 0: not at all"),
    }
    interlock = keys.table(properties, "An interlock; no safety system", required=["name", "condition", "action"])
    return keys.several(interlock, "Conditions over PVs, and what is done while they do not hold")


def interlocks_of(data: Table) -> tuple[list[Interlock], list[tuple[KeyPath, str]]]:
    """Return the interlocks of a site file, and every mistake that a schema cannot find: path of the key, the text."""
    found: list[Interlock] = []
    mistakes: list[tuple[KeyPath, str]] = []
    if not listed(data, "interlock"):
        return found, mistakes
    pvs = _SitePvs(data)
    groups = {group.name: group for group in groups_of(data)[0]}
    everything = list(candidates(data))
    for index, section in tables(data, "interlock"):
        if not isinstance(section.get("name"), str):
            continue
        reader = _InterlockReader(data, section, index, pvs, groups, everything)
        if section["name"] in {one.name for one in found}:
            reader.bad(f"found {in_words(section['name'])}, which is already an interlock", "name")
        if (interlock := reader.read()) is not None:
            found.append(interlock)
        mistakes += reader.mistakes
    return found, mistakes


class _InterlockReader(Reader):
    """Reads one interlock."""

    def __init__(
        self,
        data: Table,
        section: Table,
        index: int,
        pvs: _SitePvs,
        groups: Mapping[str, Group],
        everything: Sequence[Candidate],
    ) -> None:
        super().__init__(data, section, "interlock", index)
        self._pvs = pvs
        self._groups = groups
        self._all = everything

    def read(self) -> Interlock | None:
        """Return the interlock, None when it cannot be understood."""
        section, name = self.section, self.section.get("group")
        members = tuple(self._of_group(name) if isinstance(name, str) else self._members())
        if ("members" in section) == (name is not None):
            found = "both" if name is not None else "none of the two"
            self.bad(f"found {found}, allowed: members = [...] or group = NAME")
        condition = self._condition()
        if condition is None or section.get("action") not in list(ACTIONS):
            return None
        return Interlock(
            section["name"],
            str(section["condition"]),
            condition,
            section["action"],
            members,
            str(section.get("group", "")),
            self._seconds("act_after", 0.0),
            self._seconds("ok_after", 0.0),
            section.get("latch") is not False,
            self._seconds("bypass_seconds", BYPASS_SECONDS),
        )

    def _seconds(self, key: str, usual: float) -> float:
        value = self.section.get(key, usual)
        return float(value) if isinstance(value, int | float) else usual

    def _of_group(self, name: str) -> Iterator[MemberSettings]:
        """Yield the members of a group that the interlock acts on."""
        action, group = self.section.get("action"), self._groups.get(name)
        if group is None:
            allowed = ", ".join(self._groups) or "none, there is no [[group]]"
            self.bad(f"found {in_words(name)}, allowed: {allowed}{did_you_mean(name, self._groups)}", "group")
            return
        if action == STANDBY and "STANDBY" not in group.states:
            self.bad(f'found "standby", but group {name} has no standby values', "action")
        wanted = FURNACE if action == SAFE else SUPPLY
        yield from (one for one in group.members.values() if action == STANDBY or one.kind == wanted)

    def _members(self) -> Iterator[MemberSettings]:
        """Yield the channels or furnaces that the interlock acts on."""
        action = self.section.get("action")
        if action == STANDBY:
            self.bad('found "standby", which needs group = NAME', "action")
        wanted, what = (FURNACE, "furnace") if action == SAFE else (SUPPLY, "channel of high voltage")
        if action == REFUSE:
            wanted, what = "", "channel or furnace"
        some = [one for one in self._all if wanted in ("", one.kind)]
        chosen: dict[str, MemberSettings] = {}
        for _, found in self.named(self.section.get("members"), some, f"no {what}", "members"):
            for one in found:
                if one.readonly and action != REFUSE:
                    self.bad(f"{one.title} can't be acted on, {one.device} is readonly", "members")
                chosen[one.base] = MemberSettings(one.base, one.kind, one.title, {}, one.safe)
        yield from chosen.values()

    def _condition(self) -> Condition | None:
        text = self.section.get("condition")
        if not isinstance(text, str) or not text:
            return None
        try:
            condition = parse_condition(text)
        except ValueError as error:
            self.bad(str(error), "condition")
            return None
        for leaf in leaves(condition):
            for mistake in self._pvs.mistakes(leaf):
                self.bad(mistake, "condition")
        return renamed(condition, self._pvs.full_name)


class _SitePvs:
    """Which PVs a site has, as far as its file says."""

    def __init__(self, data: Table) -> None:
        self._prefix = prefix(data)
        self._devices: dict[str, Table] = {}
        self._aliases: dict[str, str] = {}
        for _, device in tables(data, "device"):
            if isinstance(device.get("type"), str) and isinstance(device.get("name"), str):
                self._devices[device["name"]] = device
                for number, channel in channels(device):
                    if isinstance(channel.get("alias"), str):
                        self._aliases[channel["alias"]] = f"{device['name']}:CH{int(number):02d}"

    def full_name(self, name: str) -> str:
        """Return the name of a PV of this site with its prefix, other names as they are."""
        bare = name.removeprefix(f"{self._prefix}:")
        return f"{self._prefix}:{bare}" if bare.partition(":")[0] in (*self._devices, *RESERVED) else name

    def mistakes(self, leaf: Comparison | Change) -> Iterator[str]:
        """Say what is wrong with the use of a PV of this site; what others have is seen when they are connected."""
        bare = leaf.pv.removeprefix(f"{self._prefix}:")
        alias = next((alias for alias in self._aliases if bare.startswith(f"{alias}:")), None)
        if alias is not None:
            bare = self._aliases[alias] + bare.removeprefix(alias)
        device = self._devices.get(bare.partition(":")[0])
        if device is None or device["type"] not in FAMILIES:
            return
        records = dict(_records(device))
        record = records.get(bare)
        if record is None:
            yield f"found {leaf.pv}, which is no PV of {device['name']}{did_you_mean(bare, records)}"
        elif isinstance(leaf, Comparison):
            yield from _misuse(leaf, record)


def _records(device: Table) -> Iterator[tuple[str, RecordDef]]:
    """Yield the records of a device by their names without prefix."""
    of_device, of_channel = family_records(device["type"])
    yield from ((f"{device['name']}:{suffix}", record) for suffix, record in of_device.items())
    for number in range(channel_count(device) if of_channel else 0):
        yield from ((f"{device['name']}:CH{number:02d}:{suffix}", one) for suffix, one in of_channel.items())


def _misuse(leaf: Comparison, record: RecordDef) -> Iterator[str]:
    """Say why a comparison makes no sense for a record."""
    states: Sequence[str] = labels(record)
    unit = record.fields.get("EGU", "")
    if leaf.unit and plain_unit(unit) != leaf.unit:
        yield f"found {leaf.pv} in {leaf.unit}, allowed: {unit or 'no unit'}"
    if isinstance(leaf.value, str):
        if states and leaf.value not in states:
            yield f"found {leaf.pv} {leaf.limit}, allowed: {', '.join(states)}"
        elif not states and record.rtyp not in ("stringin", "stringout", "lsi"):
            yield f"found {leaf.pv} {leaf.limit}, allowed: a number, since {leaf.pv} is one"
    elif record.rtyp in ("stringin", "stringout", "lsi", "waveform"):
        yield f"found {leaf.pv} {leaf.limit}, but that is {'an array' if record.rtyp == 'waveform' else 'a text'}"
