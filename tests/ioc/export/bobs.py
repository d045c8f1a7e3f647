"""Reads .bob and .plt files as a display runtime does: macros put in, embedded and linked screens followed."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

_MACRO = re.compile(r"\$\(([A-Z]+)(?:=([^)]*))?\)")


@dataclass
class Walk:
    """Every screen that is reached from one, with the macros it is reached with."""

    files: Mapping[str, str]
    pvs: set[str] = field(default_factory=set)
    writes: list[tuple[str, str, ET.Element]] = field(default_factory=list)
    seen: set[tuple[str, tuple[tuple[str, str], ...]]] = field(default_factory=set)
    _trees: dict[str, ET.Element] = field(default_factory=dict)
    _used: dict[str, set[str]] = field(default_factory=dict)

    def open(self, file: str, macros: Mapping[str, str]) -> None:
        """Look at a file and at all that it opens or embeds."""
        todo = [(file, dict(macros))]
        while todo:
            name, inherited = todo.pop()
            given = {macro: value for macro, value in inherited.items() if macro == "P" or macro in self._macros(name)}
            key = name, tuple(sorted(given.items()))
            if key not in self.seen:
                self.seen.add(key)
                todo += self._links(name, given)

    def text(self, file: str) -> str:
        """Return a file, which must be there."""
        assert file in self.files, f"{file} is opened, and not there"
        return self.files[file]

    def tree(self, file: str) -> ET.Element:
        """Return a file as XML, parsed once."""
        if file not in self._trees:
            self._trees[file] = ET.fromstring(self.text(file))
        return self._trees[file]

    def _macros(self, file: str) -> set[str]:
        if file not in self._used:
            self._used[file] = {match[1] for match in _MACRO.finditer(self.text(file))}
        return self._used[file]

    def _links(self, file: str, macros: dict[str, str]) -> Iterator[tuple[str, dict[str, str]]]:
        root = self.tree(file)
        for widget in root.iter("widget"):
            for tag in ("pv_name", "x_pv", "y_pv"):
                self.pvs |= {pv for e in widget.iter(tag) for pv in expand(e.text or "", macros).split(",")}
            if widget.get("type") in {"textentry", "combo"}:
                self.writes.append((file, expand(widget.findtext("pv_name", ""), macros), widget))
            for action in widget.iter("action"):
                if action.get("type") == "write_pv":
                    self.writes.append((file, expand(action.findtext("pv_name", ""), macros), widget))
            for link in (widget, *widget.iter("action")):
                target = link.findtext("file")
                if target:
                    own = {e.tag: expand(e.text or "", macros) for e in link.find("macros") or ()}
                    yield expand(target, macros), {**macros, **own}
        if root.tag == "databrowser":
            self.pvs |= {expand(pv.findtext("name", ""), macros) for pv in root.iter("pv")}


def expand(text: str, macros: Mapping[str, str]) -> str:
    """Put macros into a text; one that is not given and has no default is an error."""

    def value(match: re.Match[str]) -> str:
        found = macros.get(match[1], match[2])
        assert found is not None, f"no macro {match[1]} for {text}"
        return found

    return _MACRO.sub(value, text)
