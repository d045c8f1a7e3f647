"""What the bridge is told: which PVs, where its log lies, which servers it writes to.

The site file's ``[archiver]`` section and the expanded database belong to the IOC; they come in here as plain data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

MEASUREMENTS: Mapping[str, str] = {
    "caen-dt55xx": "DT5533E",
    "iseg-edcp": "ISEG",
    "eurotherm-3200": "EUROTHERM",
}
"""Measurement of each device type in the default schema, unless the site file names another."""

DEFAULT_MEASUREMENT = "EPICS"
"""Measurement of PVs that belong to no device of the site."""

MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class PvSpec:
    """One PV to archive, as the expanded database tells it.

    ``device``, ``device_type`` and ``channel`` (two digits) are empty where they make no sense, ``field`` is the
    name in the default schema (``VMON``, ``VSET_RBV``, ``IS_ON``). ``archive`` is the tag of the record, for example
    ``monitor 0.5`` or ``monitor 1%``. ``rtyp`` is the record type, empty when the PV is another IOC's.
    """

    name: str
    device: str = ""
    device_type: str = ""
    channel: str = ""
    field: str = ""
    archive: str = "monitor"
    rtyp: str = ""


@dataclass(frozen=True, slots=True)
class Schema:
    """How events become points: a measurement for each device type, or for each PV (``per_pv``)."""

    per_pv: bool = False
    measurements: Mapping[str, str] = field(default_factory=lambda: MEASUREMENTS)

    def measurement(self, pv: PvSpec) -> str:
        """Return the measurement that a PV's points go to."""
        if self.per_pv:
            return pv.name
        return self.measurements.get(pv.device_type) or pv.device_type or DEFAULT_MEASUREMENT
