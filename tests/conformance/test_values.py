"""Values: get in every type, put with and without completion, arrays, strings, states, monitor masks."""

from __future__ import annotations

import itertools

import pytest

from tests import dbr
from tests.libca import ECA_NORMAL, ECA_PUTFAIL, CaError, Context, Subscription
from tests.softioc import ServerProcess

_fences = itertools.count(1000)


def _settle(client: Context) -> None:
    """Wait until the events caused so far have arrived: those of one circuit come in order."""
    number = next(_fences)
    fence = client.channel("T:OTHER")
    monitor = fence.monitor(dbr.LONG)
    assert fence.put_callback(number) == ECA_NORMAL
    monitor.wait_value(number)
    monitor.clear()


def _values(monitor: Subscription) -> list[object]:
    return [event.value for event in monitor.events]


def test_GIVEN_a_number_WHEN_it_is_read_in_every_type_THEN_each_carries_what_it_should(client: Context) -> None:
    channel = client.channel("T:AI")
    assert channel.put_callback(85.126) == ECA_NORMAL
    as_type = {dbr.STRING: "85.13", dbr.SHORT: 85, dbr.ENUM: 85, dbr.CHAR: 85, dbr.LONG: 85, dbr.DOUBLE: 85.126}
    for kind in (0, dbr.STS, dbr.TIME, dbr.GR, dbr.CTRL):
        for native, expected in as_type.items():
            facts = channel.get(kind + native).decoded
            assert facts.value == expected, (kind, native)
            if kind:
                assert (facts.status, facts.severity) == (4, 1), "HIGH, MINOR"
            if kind >= dbr.GR and native not in (dbr.STRING, dbr.ENUM):
                assert facts.units == "V"
                assert facts.display is not None
                assert facts.alarm is not None
                wrap = 0xFF if native == dbr.CHAR else -1
                assert [int(x) & wrap for x in facts.display] == [x & wrap for x in (-100, 100)]
                assert [int(x) & wrap for x in facts.alarm] == [x & wrap for x in (-90, -80, 80, 90)]
            if kind >= dbr.GR and native == dbr.DOUBLE:
                assert facts.precision == 2
            if kind == dbr.CTRL and native in (dbr.LONG, dbr.DOUBLE):
                assert facts.control == (-100, 100)
    assert channel.get(dbr.CLASS_NAME).value == "ai"
    acknowledge = channel.get(dbr.STSACK_STRING).decoded
    assert (acknowledge.status, acknowledge.severity, acknowledge.ackt, acknowledge.acks) == (4, 1, 1, 1)


def test_GIVEN_states_WHEN_they_are_put_and_read_THEN_names_and_numbers_convert(client: Context) -> None:
    channel = client.channel("T:MBBI")
    assert channel.get(dbr.CTRL + dbr.ENUM).decoded.strings == ("OFF", "RAMPING", "ON")
    for put, index, name in (("RAMPING", 1, "RAMPING"), (2, 2, "ON"), ("0", 0, "OFF"), (1.9, 1, "RAMPING")):
        assert channel.put_callback(put) == ECA_NORMAL, put
        assert channel.get(dbr.ENUM).value == channel.get(dbr.DOUBLE).value == index
        assert channel.get(dbr.STRING).value == name
    assert channel.put_callback("NO SUCH STATE") == ECA_PUTFAIL
    assert channel.get(dbr.STRING).value == "RAMPING"
    with_severity = channel.get(dbr.STS + dbr.STRING).decoded
    assert (with_severity.value, with_severity.severity) == ("RAMPING", 1)


def test_GIVEN_a_text_that_is_no_number_WHEN_it_is_put_THEN_the_client_gets_an_error_and_nothing_changes(
    client: Context,
) -> None:
    channel = client.channel("T:AO")
    assert channel.put_callback("12.5") == ECA_NORMAL
    before = channel.get(dbr.TIME + dbr.DOUBLE).canonical  # base processes the record even so, the time moves
    for text in ("abc", "--1"):
        assert channel.put_callback(text) == ECA_PUTFAIL, text
    channel.put("abc")
    client.wait_for(lambda: bool(client.exceptions), 5, lambda: "no exception after a plain put of a text")
    assert client.exceptions[0][0] == ECA_PUTFAIL
    assert channel.get(dbr.TIME + dbr.DOUBLE).canonical == before


def test_GIVEN_an_output_WHEN_a_value_outside_its_drive_limits_is_put_THEN_it_is_clamped(client: Context) -> None:
    channel = client.channel("T:AO")
    monitor = channel.monitor()
    for put, got in ((100.0, 50.0), (-100.0, -50.0), (20.0, 20.0)):
        assert channel.put_callback(put) == ECA_NORMAL
        assert channel.value() == got
    _settle(client)
    assert _values(monitor)[1:] == [50.0, -50.0, 20.0]
    assert channel.get(dbr.CTRL + dbr.DOUBLE).decoded.control == (-50, 50)


def test_GIVEN_plain_puts_WHEN_many_are_sent_at_once_THEN_they_act_in_order(client: Context) -> None:
    channel = client.channel("T:LO")
    for number in range(500):
        channel.put(number)
    assert channel.value() == 499
    assert client.exceptions == []


def test_GIVEN_puts_with_completion_WHEN_they_are_sent_at_once_THEN_all_complete_and_the_last_stands(
    client: Context,
) -> None:
    channel = client.channel("T:LO")
    pending = [channel.start_put_callback(number) for number in range(100)]
    client.wait_for(lambda: all(pending), 5, lambda: f"{sum(map(bool, pending))} of 100 completed")
    assert {codes[0] for codes in pending} == {ECA_NORMAL}
    assert channel.value() == 99


def test_GIVEN_an_array_WHEN_parts_of_it_are_put_and_read_THEN_counts_are_honoured(client: Context) -> None:
    channel = client.channel("T:WF")
    assert channel.put_callback([1.0, 2.0, 3.0, 4.0]) == ECA_NORMAL
    assert channel.get(dbr.DOUBLE, 3).value == (1.0, 2.0, 3.0)
    assert channel.get(dbr.DOUBLE, 10).value == (1.0, 2.0, 3.0, 4.0, 0, 0, 0, 0, 0, 0)
    assert channel.get(dbr.LONG, 2).value == (1, 2)
    assert channel.get(dbr.STRING, 1).value == "1"
    # Count 0 asks for as many as there are: of a soft record, in both servers, NORD.
    assert channel.get(dbr.DOUBLE, 0).count == 4
    with pytest.raises(CaError):
        channel.get(dbr.DOUBLE, 11)
    monitor = channel.monitor(dbr.DOUBLE, 2)
    monitor.wait(1)
    assert channel.put_callback([float(x) for x in range(10)]) == ECA_NORMAL
    assert monitor.wait(2)[1].value == (0.0, 1.0)
    assert channel.put_callback([7, 8], dbr.LONG) == ECA_NORMAL
    assert channel.get(dbr.DOUBLE, 3).value == (7.0, 8.0, 0.0)
    nord = client.channel("T:WF.NORD")
    assert nord.value() == 2


def test_GIVEN_an_array_of_changing_length_WHEN_monitored_with_count_0_THEN_each_event_has_its_own(
    client: Context,
) -> None:
    channel = client.channel("T:WF")
    assert channel.put_callback([1.0]) == ECA_NORMAL
    monitor = channel.monitor(dbr.DOUBLE, 0)
    monitor.wait(1)
    lengths = (3, 5, 5, 2, 10, 3)
    for number, length in enumerate(lengths):
        assert channel.put_callback([number + 0.5] * length) == ECA_NORMAL
    events = monitor.wait(len(lengths) + 1)[1:]
    assert [event.value for event in events] == [(number + 0.5,) * length for number, length in enumerate(lengths)]


def test_GIVEN_a_large_array_WHEN_it_is_put_read_and_monitored_THEN_all_of_it_arrives(client: Context) -> None:
    channel = client.channel("T:BIG")
    monitor = channel.monitor(dbr.TIME + dbr.DOUBLE)
    monitor.wait(1)
    numbers = tuple(float(number) for number in range(100_000))
    assert channel.put_callback(list(numbers)) == ECA_NORMAL
    assert channel.get(dbr.DOUBLE).value == numbers
    client.wait_for(lambda: len(monitor.events) > 1, 5, lambda: "no event")
    assert monitor.events[-1].value == numbers


def test_GIVEN_long_strings_WHEN_they_are_put_THEN_every_character_arrives(client: Context) -> None:
    text = b"The put was refused: 1600 V is above the site limit of 1500 V of this channel; " * 4
    for name in ("T:LSI.VAL$", "T:CHARS"):
        channel = client.channel(name)
        monitor = channel.monitor(dbr.TIME + dbr.CHAR)
        monitor.wait(1)
        assert channel.put_callback(text) == ECA_NORMAL
        for reply in (channel.get(dbr.CHAR), channel.get(dbr.CHAR, 400), monitor.wait(2)[-1]):
            assert bytes(reply.value).split(b"\0", 1)[0] == text
    short = client.channel("T:LSI")
    assert short.get(dbr.STRING).value == text[:39].decode()
    string = client.channel("T:SO")
    for value, kept in (("x" * 39, "x" * 39), ("", ""), ("caf\xe9", "caf\xe9")):
        assert string.put_callback(value) == ECA_NORMAL
        assert string.value() == kept


def test_GIVEN_each_mask_WHEN_value_alarm_and_properties_change_THEN_only_what_was_asked_arrives(
    client: Context,
) -> None:
    channel = client.channel("T:AI")
    assert channel.put_callback(0.0) == ECA_NORMAL
    masks = {"value": 1, "log": 2, "alarm": 4, "property": 8, "value or alarm": 5, "all": 15}
    monitors = {name: channel.monitor(dbr.TIME + dbr.DOUBLE, mask=mask) for name, mask in masks.items()}
    for monitor in monitors.values():
        monitor.wait(1)
    for value in (0.5, 2.0, 2.5, 6.0, 81.0, 81.5, 91.0, 0.0):
        assert channel.put_callback(value) == ECA_NORMAL
    high = client.channel("T:AI.HIGH")
    assert high.put_callback(70.0) == ECA_NORMAL
    assert high.put_callback(80.0) == ECA_NORMAL
    _settle(client)
    got = {name: _values(monitor)[1:] for name, monitor in monitors.items()}
    assert got == {
        "value": [2.0, 6.0, 81.0, 91.0, 0.0],
        "log": [6.0, 81.0, 91.0, 0.0],
        "alarm": [81.0, 91.0, 0.0],
        "property": [0.0, 0.0],
        "value or alarm": [2.0, 6.0, 81.0, 91.0, 0.0],
        "all": [2.0, 6.0, 81.0, 91.0, 0.0, 0.0, 0.0],
    }
    alarms = [(event.decoded.status, event.decoded.severity) for event in monitors["alarm"].events[1:]]
    assert alarms == [(4, 1), (3, 2), (0, 0)]


def test_GIVEN_a_monitor_WHEN_each_type_is_asked_THEN_events_come_in_that_type(client: Context) -> None:
    channel = client.channel("T:AI")
    assert channel.put_callback(1.0) == ECA_NORMAL
    monitors = {dbr_type: channel.monitor(dbr_type) for dbr_type in dbr.READABLE if dbr_type != dbr.CLASS_NAME}
    for monitor in monitors.values():
        monitor.wait(1)
    assert channel.put_callback(50.0) == ECA_NORMAL
    for dbr_type, monitor in monitors.items():
        reply = monitor.wait(2)[-1]
        assert reply.status == ECA_NORMAL
        assert reply.canonical == channel.get(dbr_type).canonical, dbr_type


def test_GIVEN_thousands_of_gets_WHEN_they_are_sent_at_once_THEN_all_are_answered(client: Context) -> None:
    channels = client.connect([f"M:{number:03d}" for number in range(100)])
    requests = [(channel, dbr.TIME + dbr.LONG, 1) for channel in channels] * 50
    assert {answer.status for answer in client.get_many(requests)} == {ECA_NORMAL}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("T:AO", ""),
        ("T:AO", "12abc"),
        ("T:LO", float("nan")),
        ("T:LO", 1e12),
        ("T:BO", 2),
        ("T:BO", -1),
        ("T:MBBI", 3),
        ("T:MBBI", 16),
        ("T:CHARS", [256]),
        ("T:AO.HHSV", 4),
        ("T:AO.SCAN", 99),
    ],
)
def test_GIVEN_a_value_that_makes_no_sense_WHEN_it_is_put_THEN_labioc_refuses_what_base_bends(
    client: Context, server: ServerProcess, name: str, value: object
) -> None:
    channel = client.channel(name)
    before = channel.get(dbr.TIME + channel.field_type).canonical
    code = channel.put_callback(value)
    if server.name == "softioc":
        assert code == ECA_NORMAL
    else:
        assert code == ECA_PUTFAIL
        assert channel.get(dbr.TIME + channel.field_type).canonical == before
