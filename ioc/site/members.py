"""Channels and furnaces of a site file by pattern: what groups move, interlocks act on and recoveries switch on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from devices.registry import FAMILIES
from ioc.database.support import RECOVERY_CAUSE, RECOVERY_TAG
from ioc.site.contents import Table, channel_count, devices, is_number, prefix, table
from ioc.site.sentences import did_you_mean, in_words
from ioc.site.source import KeyPath
from ioc.site.templates import family_records

SUPPLY, FURNACE = "supply", "furnace"
_NEEDED: Final = {SUPPLY: {"ON", "VSET", "VMON", "STATE", "SETTLED"}, FURNACE: {"TSET", "TEMP", "SETTLED", "SAFE:CMD"}}


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that may be a member: ``limits`` are those of the site for its setting.

    ``safe`` is the safe temperature of a furnace in C; ``recovers``: its unit reports trips by itself.
    """

    base: str
    kind: str
    alias: str
    limits: tuple[float, float] | None
    readonly: bool
    safe: float | None = None
    recovers: bool = False

    @property
    def title(self) -> str:
        """What people call it."""
        return self.alias or self.base

    @property
    def device(self) -> str:
        """Name of its device."""
        return self.base.partition(":")[0]

    def named(self, pattern: str) -> bool:
        """Whether a pattern names it, by its name or its alias."""
        return fnmatchcase(self.base, pattern) or (self.alias != "" and fnmatchcase(self.alias, pattern))


def candidates(data: Table) -> Iterator[Candidate]:
    """Yield every channel and device that can be a member."""
    for _, device in devices(data):
        family, name = FAMILIES[device["type"]], str(device.get("name"))
        of_device, of_channel = family_records(family.type)
        readonly = device.get("readonly") is True
        if of_device.keys() >= _NEEDED[FURNACE]:
            safe = device.get("safe_temperature", family.options.get("safe_temperature", {}).get("default"))
            yield Candidate(name, FURNACE, "", _limits("TSET", device), readonly, safe if is_number(safe) else None)
        if of_channel.keys() >= _NEEDED[SUPPLY]:
            recovers = any(record.info.get(RECOVERY_TAG) == RECOVERY_CAUSE for record in of_channel.values())
            for number in range(channel_count(device)):
                own = table(table(device, "channel"), str(number))
                base, alias, limits = f"{name}:CH{number:02d}", str(own.get("alias", "")), _limits("VSET", device, own)
                yield Candidate(base, SUPPLY, alias, limits, readonly, recovers=recovers)


def _limits(suffix: str, *sections: Table) -> tuple[float, float] | None:
    """Return the tightest limits of a setting that the site file has."""
    found = None
    for section in sections:
        pair = table(section, "limits").get(suffix)
        if isinstance(pair, list) and len(pair) == 2 and all(isinstance(one, int | float) for one in pair):
            found = (
                (float(pair[0]), float(pair[1])) if found is None else (max(found[0], pair[0]), min(found[1], pair[1]))
            )
    return found


class Reader:
    """Reads one section of a site file; ``mistakes`` are those that were found in it, each with the path of its key."""

    def __init__(self, data: Table, section: Table, *path: str | int) -> None:
        self.mistakes: list[tuple[KeyPath, str]] = []
        self.section = section
        self._path = path
        self._prefix = f"{prefix(data)}:"

    def bad(self, text: str, *path: str | int) -> None:
        """Note a mistake at a key of the section."""
        self.mistakes.append(((*self._path, *path), text))

    def bare(self, name: str) -> str:
        """Return a name or pattern without the prefix of the site."""
        return name.removeprefix(self._prefix)

    def named(
        self, patterns: Any, among: Sequence[Candidate], what: str, *path: str | int
    ) -> Iterator[tuple[str, list[Candidate]]]:
        """Yield what each pattern names; one that names nothing, ``what`` in words, is a mistake at a key."""
        patterns = [patterns] if isinstance(patterns, str) else patterns
        for pattern in patterns if isinstance(patterns, list) else ():
            if isinstance(pattern, str):
                found = [one for one in among if one.named(self.bare(pattern))]
                if not found:
                    self.unknown(pattern, among, what, *path)
                yield pattern, found

    def unknown(self, pattern: str, among: Sequence[Candidate], what: str, *path: str | int) -> None:
        """Note that a pattern names nothing, with a hint at what may have been meant."""
        bare = self.bare(pattern)
        hint = did_you_mean(bare, [name for one in among for name in (one.base, one.alias) if name])
        self.bad(f"found {in_words(bare)}, which is {what}{hint}", *path)
