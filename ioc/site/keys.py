"""The keys of a site file as JSON Schema: one call says what a key is and may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from devices.rules.options import Schema, choice, flag, key, several, text

__all__ = ["LISTEN_PATTERN", "PORT_PATTERN", "RESERVED", "Schema", "choice", "flag", "key", "name", "names", "port",
           "several", "table", "text", "when"]  # fmt: skip

RESERVED: Final = ("IOC", "GRP", "ILK", "ARCH")
"""Second parts of PV names that belong to the server itself."""

PORT_PATTERN: Final = "(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
LISTEN_PATTERN: Final = rf"^(?:\S+:{PORT_PATTERN})?$(?!\n)"
"""``HOST:PORT`` of what is served, or an empty text."""


def port(about: str, **rules: Any) -> Schema:
    """Return the schema of the number of a port."""
    return key("integer", about, minimum=1, maximum=65535, **rules)


def table(properties: Mapping[str, Any], about: str = "", required: Sequence[str] = ()) -> Schema:
    """Return the schema of a table that has no other keys."""
    needed = {"required": list(required)} if required else {}
    return key("object", about, additionalProperties=False, properties=properties, **needed)


def names(about: str, least: int = 1) -> Schema:
    """Return the schema of a list of names or patterns."""
    return several(text(), about, minItems=least)


def name(about: str, **rules: Any) -> Schema:
    """Return the schema of a name that is a part of the names of PVs."""
    return key("string", about, pattern="^[A-Z][A-Z0-9_]*$", **rules, maxLength=30)


def when(name: str, value: Any, then: Schema) -> Schema:
    """Return the rule that a table is so when a key has this value."""
    return {"if": {"type": "object", "required": [name], "properties": {name: {"const": value}}}, "then": then}
