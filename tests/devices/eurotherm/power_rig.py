"""A record of power interruptions that is shown readings."""

from __future__ import annotations

import json
from dataclasses import replace

from devices.eurotherm.power_record import PowerRecord, Sample
from devices.eurotherm.power_report import report

HOT = Sample(1000.0, False, 600.0, 600.0, 600.0, 40.0, "AUTO", "LOCAL", "RUN", 4800.0)


def see(power: PowerRecord, sample: Sample) -> None:
    """Take a reading on a computer whose clock is right."""
    power.observe(sample, sample.time)


def message(power: PowerRecord) -> str:
    return "" if power.shown is None else report(power.shown)


def record() -> PowerRecord:
    """A record that has seen the furnace hot and running."""
    made = PowerRecord(quiet=5.0)
    made.observe(HOT, HOT.time)
    return made


def restarted(power: PowerRecord) -> PowerRecord:
    """What the next start of the program knows."""
    again = PowerRecord(quiet=5.0)
    again.restore(json.loads(json.dumps(power.as_json())))
    again.last = power.last
    return again


NEXT_BOOT = replace(HOT, boot="second", flag=True, temp=520.0, program="RESET", dated=False)

OLD = replace(HOT, boot="first", uptime=900.0)
