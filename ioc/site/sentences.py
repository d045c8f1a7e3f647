"""Mistakes of a site file in words: key, what was found, what is allowed."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ioc.site.source import KeyPath

Found = Iterator[tuple[KeyPath, str]]
"""Mistakes: the path of the key, and what is wrong with it."""

_NAMED = ("device", "group", "interlock")
"""Sections that are lists of tables with a name."""

_HOST = re.compile(r"[\w.-]+(:\d+)?|\[[0-9a-fA-F:]+\](:\d+)?")


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake: the path of its key, the key as people write it (``device HV1.limits.VSET``), what is wrong."""

    path: KeyPath
    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.key}: {self.text}"


def device_label(data: Mapping[str, Any], index: int) -> str:
    """Return what messages call a device: its name, or its number in the file."""
    return _label(data, "device", index)


def _label(data: Mapping[str, Any], section: str, index: int) -> str:
    entry = data[section][index]
    name = entry.get("name") if isinstance(entry, dict) else None
    same = [one for one in data[section] if isinstance(one, dict) and one.get("name") == name]
    number = f"number {index + 1}"
    if not isinstance(name, str) or not name:
        return f"{section} {number}"
    return f"{section} {name}" if len(same) == 1 else f"{section} {name} ({number})"


def key_of(path: KeyPath, data: Mapping[str, Any]) -> str:
    """Write a path the way people look for it: ``device HV1.channel.7.limits.VSET``."""
    text, rest = "", path
    if len(path) > 1 and path[0] in _NAMED and isinstance(path[1], int):
        text, rest = _label(data, str(path[0]), path[1]), path[2:]
    for part in rest:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text or "site file"


def in_words(value: Any) -> str:
    """Return a value the way it stands in the file, cut when it is long."""
    text = "a table" if isinstance(value, dict) else json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a hint at the known word that is like this one, or nothing."""
    choices = list(known)
    close = difflib.get_close_matches(word, choices, 1) or difflib.get_close_matches(word.upper(), choices, 1)
    return f"; did you mean {close[0]}?" if close else ""


def meant_address(text: str) -> str:
    """Return a hint at the address that was meant by a path or a host alone, or nothing."""
    if text.startswith("/dev/"):
        return f"; did you mean serial://{text}?"
    if re.fullmatch(r"COM\d+|tty\w+", text):
        return f"; did you mean serial:///dev/{text}?" if text.startswith("tty") else ""
    if _HOST.fullmatch(text) and ("." in text or ":" in text):
        return f"; did you mean tcp://{text}{'' if re.search(r':[0-9]+$', text) else ':PORT'}?"
    return ""
