"""The device families this package serves, by the ``type`` key of a ``[[device]]`` in the site file.

A new family is one driver, one template and one entry here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of hardware.

    ``template`` is the file in ``db/`` with the records of the device, ``options`` the JSON Schema of each
    key that a ``[[device]]`` of this family may have beyond the common ones.
    """

    type: str
    title: str
    template: str
    default_channels: int
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


_CAEN = Family(
    type="caen-dt55xx",
    title="CAEN DT55xxE / N1470 high voltage",
    template="caen-dt55xx.template",
    default_channels=4,
    options={
        "board": {
            "type": "integer",
            "minimum": 0,
            "maximum": 31,
            "default": 0,
            "description": "Address of the module in a daisy chain; units without addresses ignore it",
        },
        "serial": {
            "type": "string",
            "minLength": 1,
            "description": "Serial number expected, leading zeros included; another one raises a MAJOR alarm",
        },
        "settle": {
            "type": "number",
            "minimum": 0,
            "maximum": 600,
            "default": 5,
            "description": "Seconds after a ramp before the measured voltage is compared with the set one",
        },
        "allow_infinite_trip": {
            "type": "boolean",
            "default": False,
            "description": "Do not warn when the trip time is infinite (overcurrent protection off)",
        },
    },
)

FAMILIES: Mapping[str, Family] = {family.type: family for family in (_CAEN,)}
"""Every family by its type."""
