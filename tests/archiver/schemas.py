"""The default schema as the IOC hands it to the archiver."""

from __future__ import annotations

from archiver.config import Schema

MEASUREMENTS = {"caen-dt55xx": "DT5533E"}
SCHEMA = Schema(measurements=MEASUREMENTS)
PER_PV = Schema(True, MEASUREMENTS)
