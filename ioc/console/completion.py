"""What the Tab key offers: commands, devices and channels, settings, PVs, fields and states."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ioc.console.pvs import CommandError, find
from ioc.console.verbs import Places
from ioc.records import RecordSet, fields_of

MOST = 60
"""Names that are offered at once; of more, the parts up to their next colon."""

_OF_PV = ("get", "put", "watch", "dbpr")
_OF_DEVICE = ("devices", "raw", "start", "stop", "period")
_OF_CHANNEL = ("set", "on", "off", "kill")


class Completer:
    """Completes the last word of a command line."""

    def __init__(self, commands: Collection[str], records: RecordSet, places: Places, prefix: str) -> None:
        self._commands = commands
        self._records = records
        self._places = places
        self._prefix = prefix

    def candidates(self, line: str) -> list[str]:
        """Return the words that may stand in place of the last one of an unfinished line."""
        *before, start = line.lstrip().split(" ")
        before = [word for word in before if word]
        try:
            return self._candidates(before, start)
        except CommandError:
            return []

    def _candidates(self, before: list[str], start: str) -> list[str]:
        if not before or before == ["help"]:
            return _starting(self._commands, start)
        command, place = before[0], len(before)
        if command in _OF_PV and (place == 1 or command == "watch"):
            return self._names(start)
        if command == "put" and place == 2:
            target = find(self._records, before[1], self._prefix)
            return _starting(filter(None, target.spec.choices or target.record.enum_strings()), start, True)
        if command in _OF_DEVICE and place == 1:
            return _starting(self._places.names(channels=False), start, True)
        if command in _OF_CHANNEL and (place == 1 or command != "set"):
            return _starting(self._places.names(), start, True)
        if command == "set" and place == 2:
            return _starting((name.lower() for name in self._places.settings(before[1])), start, True)
        if command == "set" and place == 3:
            return _starting(filter(None, self._places.record(before[1], before[2]).enum_strings()), start, True)
        return []

    def _names(self, start: str) -> list[str]:
        """Return PV names, with or without the prefix of the site as it was begun; behind a dot, its fields."""
        base, dot, field = start.partition(".")
        if dot:
            specs = fields_of(find(self._records, base, self._prefix).record.rtyp).values()
            return [f"{base}.{spec.name}" for spec in specs if spec.implemented and spec.name.startswith(field.upper())]
        known = [*self._records, *self._records.aliases]
        found = _starting(known, start)
        if not found:
            skip = len(self._prefix) + 1
            found = [name[skip:] for name in _starting(known, f"{self._prefix}:{start}")]
        if len(found) <= MOST:
            return found
        ends = ((name, name.find(":", len(start))) for name in found)
        return list(dict.fromkeys(name[: end + 1] if end >= 0 else name for name, end in ends))[:MOST]


def _starting(words: Iterable[str], start: str, any_case: bool = False) -> list[str]:
    if any_case:
        return [word for word in words if word.upper().startswith(start.upper())]
    return [word for word in words if word.startswith(start)]
