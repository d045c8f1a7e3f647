"""Mistakes of a site file in words: key, what was found, what is allowed."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jsonschema.exceptions import ValidationError

from ioc.site.source import KeyPath

Found = Iterator[tuple[KeyPath, str]]
"""Mistakes: the path of the key, and what is wrong with it."""

_NAMED = ("device", "group", "interlock")
"""Sections that are lists of tables with a name."""

_TYPES = {
    "object": "a table",
    "array": "a list",
    "string": "a text in quotes",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
}
_ENDS = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
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


def schema_mistakes(error: ValidationError) -> Found:
    """Turn one error of the validator into sentences."""
    path: KeyPath = tuple(error.absolute_path)
    schema = error.schema if isinstance(error.schema, dict) else {}
    about = schema.get("description", "")
    found: Any = error.instance
    rule: Any = error.validator_value
    match error.validator:
        case "additionalProperties":
            known = [*schema.get("properties", ()), *_channel_numbers(schema)]
            for key in found:
                if key not in schema.get("properties", ()) and not _matches(key, schema.get("patternProperties", {})):
                    yield (*path, key), f"unknown key, allowed: {', '.join(known)}{did_you_mean(key, known)}"
        case "required":
            for key in rule:
                if key not in found:
                    allowed = _about_key(schema, key)
                    yield (*path, key), "missing" + (f", allowed: {allowed}" if allowed else "")
        case "enum" | "const":
            values = rule if error.validator == "enum" else [rule]
            hint = did_you_mean(found, map(str, values)) if isinstance(found, str) else ""
            yield path, f"found {in_words(found)}, allowed: {', '.join(map(in_words, values))}{hint}"
        case "type":
            types = " or ".join(_TYPES[kind] for kind in ([rule] if isinstance(rule, str) else rule))
            yield path, f"found {in_words(found)}, allowed: {types}{f' ({about})' if about else ''}"
        case _:
            hint = meant_address(found) if path[-1:] == ("address",) and isinstance(found, str) else ""
            yield path, f"found {in_words(found)}, allowed: {_bound(error, schema) or about}{hint}"


def _channel_numbers(schema: Mapping[str, Any]) -> list[str]:
    return ["channel numbers 0 to 99"] if "patternProperties" in schema else []


def _matches(key: str, patterns: Mapping[str, Any]) -> bool:
    return any(re.search(pattern, key) for pattern in patterns)


def _about_key(schema: Mapping[str, Any], key: str) -> str:
    about = schema.get("properties", {}).get(key, {})
    text = about.get("description") or ", ".join(map(in_words, about.get("enum", ())))
    return str(text)


def _bound(error: ValidationError, schema: Mapping[str, Any]) -> str:
    """Say the range or size that was missed; nothing for the other keywords."""
    match error.validator:
        case keyword if keyword in _ENDS:
            return " ".join(f"{word} {schema[end]}" for end, word in _ENDS.items() if end in schema)
        case "minLength":
            return "a text that is not empty"
        case "maxLength":
            return f"at most {error.validator_value} characters"
    return ""
