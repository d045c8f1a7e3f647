"""``[[interlock]]``: a condition over PVs and what is done while it does not hold, from the site file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from devices.registry import FAMILIES
from ioc.database.dbfile import RecordDef
from ioc.pvgroups.settings import TYPE as GROUP_TYPE
from ioc.site import keys
from ioc.site.conditions import Change, Comparison, Condition, leaves, parse_condition, plain_unit, renamed
from ioc.site.groups import Group, MemberSettings, groups_of
from ioc.site.members import FURNACE, SUPPLY, candidates, no_such
from ioc.site.sentences import Found, did_you_mean, in_words
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

_OWN: Final = ("IOC", "GRP", "ILK", "ARCH")


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


def interlocks_of(data: Mapping[str, Any]) -> tuple[list[Interlock], list[tuple[KeyPath, str]]]:
    """Return the interlocks of a site file, and every mistake that a schema cannot find: path of the key, the text."""
    sections = data.get("interlock")
    found: list[Interlock] = []
    mistakes: list[tuple[KeyPath, str]] = []
    if not isinstance(sections, list):
        return found, mistakes
    site = _Site(data)
    groups = {group.name: group for group in groups_of(data)[0]}
    for index, section in enumerate(sections):
        if not isinstance(section, dict) or not isinstance(section.get("name"), str):
            continue
        path: KeyPath = ("interlock", index)
        if section["name"] in {one.name for one in found}:
            mistakes.append(((*path, "name"), f"found {in_words(section['name'])}, which is already an interlock"))
        members = list(_members(section, site, groups, path, mistakes))
        condition = _condition(section, site, path, mistakes)
        if condition is not None and section.get("action") in list(ACTIONS):
            found.append(
                Interlock(
                    section["name"],
                    str(section["condition"]),
                    condition,
                    section["action"],
                    tuple(members),
                    str(section.get("group", "")),
                    _seconds(section, "act_after", 0.0),
                    _seconds(section, "ok_after", 0.0),
                    section.get("latch") is not False,
                    _seconds(section, "bypass_seconds", BYPASS_SECONDS),
                )
            )
    return found, mistakes


def interlock_mistakes(data: Mapping[str, Any]) -> Found:
    """Yield every mistake in the interlocks."""
    yield from interlocks_of(data)[1]


def _seconds(section: Mapping[str, Any], key: str, usual: float) -> float:
    value = section.get(key, usual)
    return float(value) if isinstance(value, int | float) else usual


def _members(
    section: Mapping[str, Any],
    site: _Site,
    groups: Mapping[str, Group],
    path: KeyPath,
    mistakes: list[tuple[KeyPath, str]],
) -> Iterator[MemberSettings]:
    """Yield what the interlock acts on."""
    action, patterns, name = section.get("action"), section.get("members"), section.get("group")
    if (patterns is None) == (name is None):
        found = "both" if name is not None else "none of the two"
        mistakes.append((path, f"found {found}, allowed: members = [...] or group = NAME"))
    if isinstance(name, str):
        group = groups.get(name)
        if group is None:
            allowed = ", ".join(groups) or "none, there is no [[group]]"
            mistakes.append(
                ((*path, "group"), f"found {in_words(name)}, allowed: {allowed}{did_you_mean(name, groups)}")
            )
            return
        if action == STANDBY and "STANDBY" not in group.states:
            mistakes.append(((*path, "action"), f'found "standby", but group {name} has no standby values'))
        wanted = FURNACE if action == SAFE else SUPPLY
        yield from (one for one in group.members.values() if action == STANDBY or one.kind == wanted)
        return
    if action == STANDBY:
        mistakes.append(((*path, "action"), 'found "standby", which needs group = NAME'))
    wanted, what = (FURNACE, "furnace") if action == SAFE else (SUPPLY, "channel of high voltage")
    if action == REFUSE:
        wanted, what = "", "channel or furnace"
    everything = [one for one in candidates(site.data) if wanted in ("", one.kind)]
    chosen: dict[str, MemberSettings] = {}
    for pattern in patterns if isinstance(patterns, list) else ():
        if not isinstance(pattern, str):
            continue
        bare = pattern.removeprefix(f"{site.prefix}:")
        some = [one for one in everything if one.named(bare)]
        if not some:
            mistakes.append(((*path, "members"), no_such(bare, everything, f"no {what}")))
        for one in some:
            if one.readonly and action != REFUSE:
                text = f"{one.alias or one.base} can't be acted on, {one.base.partition(':')[0]} is readonly"
                mistakes.append(((*path, "members"), text))
            chosen[one.base] = MemberSettings(one.base, one.kind, one.alias or one.base, {}, one.safe)
    yield from chosen.values()


def _condition(
    section: Mapping[str, Any], site: _Site, path: KeyPath, mistakes: list[tuple[KeyPath, str]]
) -> Condition | None:
    text = section.get("condition")
    if not isinstance(text, str) or not text:
        return None
    try:
        condition = parse_condition(text)
    except ValueError as error:
        mistakes.append(((*path, "condition"), str(error)))
        return None
    for leaf in leaves(condition):
        mistakes += [((*path, "condition"), text) for text in site.mistakes(leaf)]
    return renamed(condition, site.full_name)


class _Site:
    """Which PVs a site has, as far as its file says."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = data
        site = data.get("site")
        self.prefix = str(site.get("prefix", "")) if isinstance(site, dict) else ""
        self._devices: dict[str, Mapping[str, Any]] = {}
        self._aliases: dict[str, str] = {}
        devices = data.get("device")
        for device in devices if isinstance(devices, list) else ():
            if isinstance(device, dict) and isinstance(device.get("type"), str) and isinstance(device.get("name"), str):
                self._devices[device["name"]] = device
                channels = device.get("channel")
                for number, channel in channels.items() if isinstance(channels, dict) else ():
                    if isinstance(channel, dict) and isinstance(channel.get("alias"), str) and number.isdecimal():
                        self._aliases[channel["alias"]] = f"{device['name']}:CH{int(number):02d}"

    def full_name(self, name: str) -> str:
        """Return the name of a PV of this site with its prefix, other names as they are."""
        bare = name.removeprefix(f"{self.prefix}:")
        return f"{self.prefix}:{bare}" if bare.partition(":")[0] in (*self._devices, *_OWN) else name

    def mistakes(self, leaf: Comparison | Change) -> Iterator[str]:
        """Say what is wrong with the use of a PV of this site; what others have is seen when they are connected."""
        bare = leaf.pv.removeprefix(f"{self.prefix}:")
        alias = next((alias for alias in self._aliases if bare.startswith(f"{alias}:")), None)
        if alias is not None:
            bare = self._aliases[alias] + bare.removeprefix(alias)
        device = self._devices.get(bare.partition(":")[0])
        if device is None or device["type"] == GROUP_TYPE or device["type"] not in FAMILIES:
            return
        records = dict(_records(device))
        record = records.get(bare)
        if record is None:
            yield f"found {leaf.pv}, which is no PV of {device['name']}{did_you_mean(bare, records)}"
        elif isinstance(leaf, Comparison):
            yield from _misuse(leaf, record)


def _records(device: Mapping[str, Any]) -> Iterator[tuple[str, RecordDef]]:
    """Yield the records of a device by their names without prefix."""
    of_device, of_channel = family_records(device["type"])
    yield from ((f"{device['name']}:{suffix}", record) for suffix, record in of_device.items())
    count = device.get("channels", FAMILIES[device["type"]].default_channels)
    for number in range(min(count, 100) if isinstance(count, int) and of_channel else 0):
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
