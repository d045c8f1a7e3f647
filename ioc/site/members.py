"""Channels and furnaces of a site file by pattern: what groups move and interlocks act on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from devices.registry import FAMILIES
from ioc.site.sentences import did_you_mean, in_words
from ioc.site.templates import family_records

SUPPLY, FURNACE = "supply", "furnace"
_NEEDED: Final = {SUPPLY: {"ON", "VSET", "VMON", "STATE", "SETTLED"}, FURNACE: {"TSET", "TEMP", "SETTLED", "SAFE:CMD"}}


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that may be a member: ``limits`` are those of the site for its setting."""

    base: str
    kind: str
    alias: str
    limits: tuple[float, float] | None
    readonly: bool
    safe: float | None = None

    def named(self, pattern: str) -> bool:
        """Whether a pattern names it, by its name or its alias."""
        return fnmatchcase(self.base, pattern) or (self.alias != "" and fnmatchcase(self.alias, pattern))


def candidates(data: Mapping[str, Any]) -> Iterator[Candidate]:
    """Yield every channel and device that can be a member."""
    devices = data.get("device")
    for device in devices if isinstance(devices, list) else ():
        if not isinstance(device, dict) or not isinstance(device.get("type"), str) or device["type"] not in FAMILIES:
            continue
        family, name = FAMILIES[device["type"]], str(device.get("name"))
        of_device, of_channel = family_records(family.type)
        readonly = device.get("readonly") is True
        if of_device.keys() >= _NEEDED[FURNACE]:
            safe = device.get("safe_temperature", family.options.get("safe_temperature", {}).get("default"))
            yield Candidate(name, FURNACE, "", _limits("TSET", device), readonly, safe if is_number(safe) else None)
        count = device.get("channels", family.default_channels)
        if of_channel.keys() >= _NEEDED[SUPPLY] and isinstance(count, int):
            channels = device.get("channel")
            for number in range(min(count, 100)):
                own = channels.get(str(number), {}) if isinstance(channels, dict) else {}
                own = own if isinstance(own, dict) else {}
                alias = str(own.get("alias", ""))
                yield Candidate(f"{name}:CH{number:02d}", SUPPLY, alias, _limits("VSET", device, own), readonly)


def _limits(suffix: str, *sections: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return the tightest limits of a setting that the site file has."""
    found = None
    for section in sections:
        table = section.get("limits")
        pair = table.get(suffix) if isinstance(table, dict) else None
        if isinstance(pair, list) and len(pair) == 2 and all(isinstance(one, int | float) for one in pair):
            found = (
                (float(pair[0]), float(pair[1])) if found is None else (max(found[0], pair[0]), min(found[1], pair[1]))
            )
    return found


def no_such(pattern: str, among: Sequence[Candidate], what: str) -> str:
    """Say that a pattern names nothing, with a hint at what may have been meant."""
    hint = did_you_mean(pattern, [name for one in among for name in (one.base, one.alias) if name])
    return f"found {in_words(pattern)}, which is {what}{hint}"


def is_number(value: Any) -> bool:
    """Whether a value of the site file is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)
