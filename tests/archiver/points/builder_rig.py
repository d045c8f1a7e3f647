"""Events for a builder of points, and the points that it makes."""

from __future__ import annotations

from archiver.config import PvSpec
from archiver.points.builder import PointBuilder
from archiver.points.lineprotocol import Point
from labioc_ca.events import Event, Kind, Value
from tests.archiver.influx.fake_influx import parse_all
from tests.archiver.schemas import PER_PV, SCHEMA

NOW = 1_795_000_000_000_000_000

SECOND = 10**9

VMON = PvSpec("LAB:HV1:CH00:VMON", "HV1", "caen-dt55xx", "00", "VMON", "monitor", "ai")

IS_ON = PvSpec("LAB:HV1:CH00:STAT:ON", "HV1", "caen-dt55xx", "00", "IS_ON", "monitor", "bi")

MSG = PvSpec("LAB:HV1:COMM:MSG", "HV1", "caen-dt55xx", "", "COMM_MSG", "monitor", "waveform")

FOREIGN = PvSpec("VAC:GAUGE 1,a=b")


def builder(*pvs: PvSpec, per_pv: bool = False) -> PointBuilder:
    return PointBuilder(
        pvs or (VMON, IS_ON, MSG, FOREIGN), PER_PV if per_pv else SCHEMA, host="bridge", clock=lambda: NOW
    )


def value(pv: PvSpec, what: Value, stamp: int = NOW, severity: int = 0, kind: Kind = Kind.DOUBLE) -> Event:
    return Event(pv.name, kind, what, stamp, severity)


def points(payload: bytes) -> list[Point]:
    return list(parse_all(payload))
