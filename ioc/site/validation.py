"""Compares a site file with its JSON Schema: each mistake as a sentence.

Of JSON Schema (Draft 2020-12) it knows what the keys of a site file need. That is little, and it takes a tenth of the
time of a validator for all of it; any other keyword is an error of whoever wrote the schema.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ioc.site.sentences import did_you_mean, in_words, meant_address
from ioc.site.source import KeyPath

Schema = Mapping[str, Any]

_NUMBER: Final = (int, float)
_TYPES: Final[dict[str, tuple[type | tuple[type, ...], str]]] = {
    "object": (dict, "a table"),
    "array": (list, "a list"),
    "string": (str, "a text in quotes"),
    "number": (_NUMBER, "a number"),
    "integer": (_NUMBER, "a whole number"),
    "boolean": (bool, "true or false"),
}
_BOUNDS: Final[dict[str, tuple[type | tuple[type, ...], Callable[[Any, Any], object]]]] = {
    "minimum": (_NUMBER, operator.ge),
    "maximum": (_NUMBER, operator.le),
    "exclusiveMinimum": (_NUMBER, operator.gt),
    "exclusiveMaximum": (_NUMBER, operator.lt),
    "minLength": (str, lambda value, size: len(value) >= size),
    "maxLength": (str, lambda value, size: len(value) <= size),
    "pattern": (str, lambda value, pattern: re.search(pattern, value)),
    "minItems": (list, lambda value, size: len(value) >= size),
    "maxItems": (list, lambda value, size: len(value) <= size),
}
"""Which values a keyword is about, and what they have to be to it."""

_ENDS: Final = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}

_NO_RULES: Final = frozenset({"$schema", "$defs", "title", "description", "default", "examples", "then"})


def schema_mistakes(value: Any, schema: Schema, definitions: Schema) -> list[tuple[KeyPath, str]]:
    """Return the mistakes in a value: the path of each key, and a sentence; ``$ref`` names ``definitions``.

    Raises NotImplementedError for a keyword that is not known.
    """
    return [(one.path, _sentence(one)) for one in _compared(value, schema, definitions)]


@dataclass(frozen=True, slots=True)
class _Mismatch:
    """A value that does not keep a keyword of its schema."""

    path: KeyPath
    value: Any
    keyword: str
    schema: Schema


def _compared(value: Any, schema: Schema, definitions: Schema) -> list[_Mismatch]:
    comparison = _Comparison(definitions)
    comparison.compare(value, schema, ())
    return comparison.found


class _Comparison:
    """The mistakes found so far."""

    def __init__(self, definitions: Schema) -> None:
        self.found: list[_Mismatch] = []
        self._definitions = definitions

    def compare(self, value: Any, schema: Schema, path: KeyPath) -> None:
        """Take the keywords of a schema one after the other."""
        for keyword, rule in schema.items():
            match keyword:
                case "$ref":
                    self.compare(value, self._definitions[rule.removeprefix("#/$defs/")], path)
                case "allOf":
                    for one in rule:
                        self.compare(value, one, path)
                case "if":
                    if not _compared(value, rule, self._definitions):
                        self.compare(value, schema["then"], path)
                case "items":
                    for index, one in enumerate(value if isinstance(value, list) else ()):
                        self.compare(one, rule, (*path, index))
                case "properties" | "patternProperties" | "additionalProperties" | "required":
                    if isinstance(value, dict):
                        self._compare_keys(value, keyword, schema, path)
                case _ if keyword not in _NO_RULES and not self._keeps(value, keyword, rule):
                    self.found.append(_Mismatch(path, value, keyword, schema))

    def _compare_keys(self, value: Mapping[str, Any], keyword: str, schema: Schema, path: KeyPath) -> None:
        """Take a keyword about the keys of a table."""
        rule, named, patterns = schema[keyword], schema.get("properties", {}), schema.get("patternProperties", {})
        compared: Iterable[tuple[str, Schema]] = ()
        if keyword == "required":
            self.found += [_Mismatch((*path, key), None, keyword, schema) for key in rule if key not in value]
        elif keyword == "properties":
            compared = [(key, rule[key]) for key in rule if key in value]
        elif keyword == "patternProperties":
            compared = [(key, one) for pattern, one in rule.items() for key in value if re.search(pattern, key)]
        else:
            others = [key for key in value if key not in named and not any(re.search(one, key) for one in patterns)]
            if rule is False:
                self.found += [_Mismatch((*path, key), None, keyword, schema) for key in others]
            else:
                compared = [(key, rule) for key in others]
        for key, one in compared:
            self.compare(value[key], one, (*path, key))

    def _keeps(self, value: Any, keyword: str, rule: Any) -> bool:
        """Return whether a value keeps a rule about it as a whole."""
        match keyword:
            case "type":
                return _is(value, rule)
            case "enum":
                return any(_same(value, one) for one in rule)
            case "const":
                return _same(value, rule)
            case "anyOf":
                return any(not _compared(value, one, self._definitions) for one in rule)
            case "not":
                return bool(_compared(value, rule, self._definitions))
            case _ if keyword in _BOUNDS:
                kind, holds = _BOUNDS[keyword]
                return not isinstance(value, kind) or isinstance(value, bool) or bool(holds(value, rule))
        raise NotImplementedError(f"labioc does not know the keyword {keyword!r} of JSON Schema")


def _is(value: Any, types: str | list[str]) -> bool:
    """Return whether a value is of one of some types; true and false are no numbers, 3.0 is a whole one."""
    for one in [types] if isinstance(types, str) else types:
        if isinstance(value, _TYPES[one][0]) and isinstance(value, bool) == (one == "boolean"):
            return one != "integer" or not isinstance(value, float) or value.is_integer()
    return False


def _same(one: Any, other: Any) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _sentence(one: _Mismatch) -> str:
    """Say what was found and what is allowed, with a hint at what may have been meant."""
    named, rule = one.schema.get("properties", {}), one.schema[one.keyword]
    match one.keyword:
        case "required":
            about = named.get(one.path[-1], {})
            allowed = about.get("description") or ", ".join(map(in_words, about.get("enum", ())))
            return f"missing, allowed: {allowed}" if allowed else "missing"
        case "additionalProperties":
            known = [*named, *(["channel numbers 0 to 99"] if "patternProperties" in one.schema else [])]
            return f"unknown key, allowed: {', '.join(known)}{did_you_mean(str(one.path[-1]), known)}"
        case "type":
            about = f" ({one.schema['description']})" if "description" in one.schema else ""
            types = [rule] if isinstance(rule, str) else rule
            allowed = " or ".join(_TYPES[kind][1] for kind in types) + about
        case "enum" | "const":
            values = rule if one.keyword == "enum" else [rule]
            allowed = ", ".join(map(in_words, values))
            allowed += did_you_mean(one.value, map(str, values)) if isinstance(one.value, str) else ""
        case _:
            allowed = _bound(one.keyword, one.schema)
            allowed += meant_address(one.value) if one.path[-1:] == ("address",) and isinstance(one.value, str) else ""
    return f"found {in_words(one.value)}, allowed: {allowed}"


def _bound(keyword: str, schema: Schema) -> str:
    """Say the range or size that was missed, or what the key is about."""
    match keyword:
        case _ if keyword in _ENDS:
            return " ".join(f"{word} {schema[end]}" for end, word in _ENDS.items() if end in schema)
        case "minLength":
            return "a text that is not empty"
        case "maxLength":
            return f"at most {schema[keyword]} characters"
    return str(schema.get("description", ""))
