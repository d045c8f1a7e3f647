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
