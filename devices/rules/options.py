"""Keys of a site file as JSON Schema: one call says what a key is and may be; and those that several families have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Schema = dict[str, Any]


def key(kind: str, about: str = "", **rules: Any) -> Schema:
    """Return the schema of a key of a JSON type; ``rules`` are further keywords, ``about`` is for people."""
    return {"type": kind, **rules} | ({"description": about} if about else {})


def between(low: float, high: float, about: str, default: float | None = None, kind: str = "number") -> Schema:
    """Return the schema of a number from ``low`` to ``high``."""
    return key(kind, about, minimum=low, maximum=high) | ({} if default is None else {"default": default})


def text(about: str = "", **rules: Any) -> Schema:
    """Return the schema of a text that is not empty."""
    return key("string", about, minLength=1, **rules)


def flag(default: bool, about: str) -> Schema:
    """Return the schema of true or false."""
    return key("boolean", about, default=default)


def choice(values: Iterable[Any], about: str, **rules: Any) -> Schema:
    """Return the schema of one of some values."""
    return {"enum": list(values), **rules, "description": about}


def several(items: Schema, about: str = "", **rules: Any) -> Schema:
    """Return the schema of a list."""
    return key("array", about, items=items, **rules)


HV_SETTLE = between(0, 600, "Seconds after a ramp before a deviating voltage or a current limit counts", 5)

HV_SETTLED_BAND = key(
    "number",
    "V that a settled voltage may be from its setting; 2 V or 0.2 %, the larger, when left out",
    exclusiveMinimum=0,
)

HV_DISABLED_SEVERITY = choice(
    ("NO_ALARM", "MINOR", "MAJOR"), "Severity of STATE for a channel that is disabled at its switch", default="MINOR"
)

MODBUS_UNIT = between(1, 254, "Address of the instrument on the line", 1, "integer")
