"""Events for people: announced by PVs, with what belongs to them, once."""

from __future__ import annotations

from archiver.config import PvSpec
from archiver.points.builder import PointBuilder
from archiver.points.lineprotocol import Point
from labioc_ca.events import Event, Kind, Value
from tests.archiver.influx.fake_influx import parse_all
from tests.archiver.schemas import SCHEMA

NOW = 1_795_000_000_000_000_000
SECOND = 10**9


def spec(name: str, rtyp: str, channel: str = "", unit: str = "", precision: int | None = None) -> PvSpec:
    device = name.split(":")[1]
    return PvSpec(name, device, "caen-dt55xx", channel, name.replace(":", "_"), "monitor", rtyp, 0.0, unit, precision)


PVS = [
    spec("LAB:HV1:CH02:TRIP:COUNT", "longin", "02"),
    spec("LAB:HV1:CH02:TRIP:V", "ai", "02", "V", 1),
    spec("LAB:HV1:CH02:TRIP:I", "ai", "02", "uA", 3),
    spec("LAB:HV1:CH02:VSET", "ao", "02", "V", 1),
    spec("LAB:HV1:PUT:MSG", "lsi"),
    spec("LAB:HV1:COMM", "bi"),
    spec("LAB:HV1:COMM:MSG", "lsi"),
    spec("LAB:IOC:PUTS", "lsi"),
    spec("LAB:FURN1:PWR:COUNT", "longin"),
    spec("LAB:FURN1:PWR:MSG", "lsi"),
]


class Announcing:
    def __init__(self) -> None:
        self.now = 0.0
        self.stamp = NOW
        self.builder = PointBuilder(PVS, SCHEMA, clock=lambda: NOW, monotonic=lambda: round((self.now + 1000) * SECOND))
        self.events: list[Point] = []

    def send(self, **values: Value) -> None:
        self.stamp += SECOND
        for suffix, value in values.items():
            name = next(pv.name for pv in PVS if pv.name.endswith(suffix.replace("_", ":")))
            channel = f"{name}.VAL$" if isinstance(value, str) else name
            self._keep(self.builder.build([Event(channel, Kind.DOUBLE, value, self.stamp)])[0])

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self._keep(self.builder.tick()[0])

    def _keep(self, payload: bytes) -> None:
        self.events += [point for point in parse_all(payload) if point.measurement == "events"]


def test_a_trip_is_reported_once_with_what_was_there_before() -> None:
    one = Announcing()
    one.send(CH02_TRIP_COUNT=3, CH02_TRIP_V=0.0, CH02_TRIP_I=0.0)  # so it was when the bridge began
    one.pass_time(1)
    assert one.events == []
    one.send(CH02_TRIP_COUNT=4, CH02_TRIP_V=1499.52, CH02_TRIP_I=12.3456)
    one.pass_time(0.1)
    assert one.events == []
    one.pass_time(0.5)
    assert one.events == [
        Point(
            "events",
            {"channel": "2", "device": "HV1", "kind": "trip"},
            {"title": "HV1 channel 2 tripped", "text": "before: 1499.5 V, 12.346 uA", "severity": 2},
            one.stamp,
        )
    ]
    one.send(CH02_TRIP_COUNT=0)  # the server was restarted
    one.pass_time(1)
    assert len(one.events) == 1


def test_puts_are_reported_with_who_and_what() -> None:
    one = Announcing()
    one.send(IOC_PUTS="", PUT_MSG="")
    one.send(IOC_PUTS="12:00:00 ann@desk LAB:HV1:CH02:VSET 100 V -> 200 V", PUT_MSG="5000 V is above 3000 V (site)")
    one.pass_time(1)
    put, refused = one.events
    assert put.tags == {"channel": "2", "device": "HV1", "kind": "put"}
    assert put.fields["title"] == "put to LAB:HV1:CH02:VSET"
    assert put.fields["text"] == "12:00:00 ann@desk LAB:HV1:CH02:VSET 100 V -> 200 V"
    assert refused.tags == {"device": "HV1", "kind": "refused"}
    assert refused.fields == {
        "title": "HV1: put refused",
        "text": "5000 V is above 3000 V (site)",
        "severity": 1,
    }


def test_puts_of_one_event_are_reported_one_by_one_also_those_of_an_interruption() -> None:
    one = Announcing()
    lines = [f"12:00:0{second}.000 ann@desk LAB:HV1:CH02:VSET 0 -> {second}" for second in range(8)]

    def shown(*seconds: int) -> str:
        return "\n".join(lines[second] for second in seconds)

    one.send(IOC_PUTS=shown(1, 0))
    one.send(IOC_PUTS=shown(3, 2, 1))
    one.builder.build([Event("LAB:IOC:PUTS", Kind.CONNECTION, None, NOW, connected=state) for state in (False, True)])
    one.send(IOC_PUTS=shown(5, 4, 3, 2))  # two while the connection was interrupted
    one.send(IOC_PUTS="")  # the server was restarted
    one.send(IOC_PUTS=shown(6))
    one.send(IOC_PUTS=shown(6, 6))  # twice the same, in one millisecond
    one.send(IOC_PUTS=shown(6, 6))
    one.pass_time(1)
    found = sorted(one.events, key=lambda point: point.time or 0)
    assert [point.fields["text"] for point in found] == [lines[number] for number in (2, 3, 4, 5, 6, 6)]
    assert len({point.time for point in found}) == 6


def test_links_and_power_interruptions_are_reported() -> None:
    one = Announcing()
    one.send(HV1_COMM=1, COMM_MSG="", PWR_COUNT=1, PWR_MSG="old")
    one.send(HV1_COMM=0, COMM_MSG="no answer in 0.5 s")
    one.send(HV1_COMM=1)
    one.send(PWR_COUNT=2, PWR_MSG="off for 35 s")
    one.pass_time(1)
    assert [(point.tags["kind"], point.fields["title"], point.fields["text"]) for point in one.events] == [
        ("link", "HV1 is lost", "no answer in 0.5 s"),
        ("link", "HV1 is back", ""),
        ("power", "FURN1: power interruption", "off for 35 s"),
    ]


def test_what_was_so_after_a_reconnection_announces_nothing() -> None:
    one = Announcing()
    one.send(CH02_TRIP_COUNT=3)
    one.builder.build(
        [Event("LAB:HV1:CH02:TRIP:COUNT", Kind.CONNECTION, None, NOW, connected=state) for state in (False, True)]
    )
    one.send(CH02_TRIP_COUNT=9)
    one.pass_time(1)
    assert one.events == []


def test_the_end_does_not_swallow_what_was_announced() -> None:
    one = Announcing()
    one.send(CH02_TRIP_COUNT=3)
    one.send(CH02_TRIP_COUNT=4)
    assert b"HV1 channel 2 tripped" in one.builder.finish()[0]


def test_the_start_of_the_bridge_says_how_long_nothing_was_archived() -> None:
    builder = Announcing().builder
    (long,) = parse_all(builder.gap(NOW - 3600 * SECOND)[0])
    assert (long.fields["text"], long.fields["severity"]) == ("nothing was archived for 3600 s", 1)
    (first,) = parse_all(builder.gap(0)[0])
    assert (first.fields["severity"], first.tags) == (0, {"kind": "archiver"})
