"""Keys of the site file that several families have, as JSON Schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

HV_SETTLE: Mapping[str, Any] = {
    "type": "number",
    "minimum": 0,
    "maximum": 600,
    "default": 5,
    "description": "Seconds after a ramp before a deviating voltage or a current limit counts",
}

HV_SETTLED_BAND: Mapping[str, Any] = {
    "type": "number",
    "exclusiveMinimum": 0,
    "description": "V that a settled voltage may be from its setting; 2 V or 0.2 %, the larger, when left out",
}

HV_DISABLED_SEVERITY: Mapping[str, Any] = {
    "enum": ["NO_ALARM", "MINOR", "MAJOR"],
    "default": "MINOR",
    "description": "Severity of STATE for a channel that is disabled at its switch",
}
