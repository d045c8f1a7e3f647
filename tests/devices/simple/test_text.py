"""A text device that is a table: reading, bad answers, settings and what becomes of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.errors import Garbled, LinkDown, OutOfLimits, Refused, ReplyTimeout, TakenOtherwise, Withdrawn
from devices.links.transport import TcpTransport
from devices.model import Cause, DeviceSettings, Level
from devices.permit import Permit
from devices.simple import Line, text_family
from devices.simple.text import fill, gap_of
from tests.devices.simple.bench import LINES, TEXT, text_device


async def test_everything_is_read_with_one_question_each():
    async with text_device() as (driver, simulator):
        simulator.received.clear()
        found = await driver.read(driver.signals())
        assert {name: reading.value for name, reading in found.items()} == {
            "IDN": "ACME", "TEMP": 20.0, "SP": 25.0, "SP.RBV": 25.0, "SP.HI": 95, "SP.LO": 5,
            "STIR": 0, "STIR.RBV": 0, "QUIET": 0, "QUIET.RBV": 0, "QUIET.HI": 9, "QUIET.LO": 0,
        }  # fmt: skip
        assert all(reading.level is Level.OK for reading in found.values())
        assert simulator.received == ["*IDN?", "T?", "SP?", "ST?", "Q?"]
        assert driver.precision("SP.RBV") == 1
        assert driver.precision("QUIET") is None


async def test_connecting_and_reading_send_no_setting():
    async with text_device() as (driver, simulator):
        await driver.read(driver.signals())
        assert not [line for line in simulator.received if not line.endswith("?")]


async def test_a_broken_sensor_is_invalid_at_once_and_no_bad_answer():
    async with text_device() as (driver, simulator):
        simulator.model.rows["TEMP"] = Line("TEMP", text=True)
        simulator.model.force("TEMP", "OPEN")
        for _ in range(8):
            found = await driver.read(["TEMP"])
            assert (found["TEMP"].value, found["TEMP"].level, found["TEMP"].cause) == (None, Level.INVALID, Cause.READ)
        simulator.model.force("TEMP", "nan")
        assert (await driver.read(["TEMP"]))["TEMP"].level is Level.INVALID


async def test_one_bad_answer_is_left_out_a_second_is_invalid_and_several_in_a_row_are_a_lost_device():
    async with text_device() as (driver, simulator):
        simulator.model.rows["TEMP"] = Line("TEMP", text=True)
        simulator.model.force("TEMP", "?!")
        assert await driver.read(["TEMP"]) == {}
        found = await driver.read(["TEMP"])
        assert (found["TEMP"].value, found["TEMP"].level) == (None, Level.INVALID)
        assert (await driver.read(["SP.RBV"]))["SP.RBV"].value == 25.0
        simulator.faults.garbage = True
        with pytest.raises(Garbled, match="4 unreadable answers in a row"):
            await driver.read(driver.signals())


async def test_a_silent_device_is_lost_and_comes_back():
    async with text_device() as (driver, simulator):
        simulator.faults.silent = True
        with pytest.raises(ReplyTimeout):
            await driver.read(["TEMP"])
        simulator.faults.silent = False
        await driver.close()
        with pytest.raises(LinkDown):
            await driver.read(["TEMP"])
        await driver.connect()
        assert (await driver.read(["TEMP"]))["TEMP"].value == 20.0


async def test_a_setting_is_sent_once_and_read_back():
    async with text_device() as (driver, simulator):
        found = await driver.write("SP", 40.0)
        assert {name: reading.value for name, reading in found.items()} == {"SP": 40.0, "SP.RBV": 40.0}
        assert [line for line in simulator.received if line.startswith("SP ")] == ["SP 40.0"]
        assert (await driver.write("STIR", 1))["STIR.RBV"].value == 1
        assert "ST 1" in simulator.received
        assert (await driver.write("QUIET", 7))["QUIET.RBV"].value == 7


async def test_a_command_is_sent_and_returns_to_0():
    async with text_device() as (driver, simulator):
        assert (await driver.write("RESET.CMD", 1))["RESET.CMD"].value == 0
        assert simulator.received[-1] == "*RST"
        simulator.received.clear()
        await driver.write("RESET.CMD", 0)
        assert simulator.received == []


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("SP", 96.0, r"SP 96 C is above 95 C \(device\)"),
        ("SP", 61.0, r"SP 61 C is above 60 C \(site limit\)"),
        ("SP", 9.0, r"SP 9 C is below 10 C \(site limit\)"),
        ("SP", float("nan"), "is not a number"),
        ("STIR", 2, "is none of OFF, ON"),
    ],
)
async def test_what_is_not_allowed_is_refused_before_a_byte_is_sent(name: str, value: float, text: str):
    async with text_device(limits={"SP": (10.0, 60.0)} if "95" not in text else {}) as (driver, simulator):
        simulator.received.clear()
        with pytest.raises(OutOfLimits, match=text):
            await driver.write(name, value)
        assert simulator.received == []


async def test_a_value_that_the_wire_rounds_beyond_a_limit_is_refused():
    async with text_device(limits={"SP": (10.01, 40.06)}) as (driver, simulator):
        simulator.received.clear()
        with pytest.raises(OutOfLimits, match=r"SP 40.1 C is above 40.06 C \(site limit\)"):
            await driver.write("SP", 40.06)
        with pytest.raises(OutOfLimits, match=r"SP 10 C is below 10.01 C"):
            await driver.write("SP", 10.02)
        assert simulator.received == []
        await driver.write("SP", 40.0)
        assert (await driver.read(["SP.RBV"]))["SP.RBV"].value == 40.0


@pytest.mark.parametrize("answer", ["3.9", "1_0", "3e-1"])
def test_a_number_of_another_form_is_no_answer(answer: str):
    with pytest.raises(Garbled, match="expected a whole number"):
        Line("COUNT", ask="N?", whole=True).parse(answer)
    assert Line("COUNT", ask="N?", whole=True).parse("12.0") == 12


async def test_a_setting_that_was_taken_though_its_answer_is_garbled_is_applied():
    async with text_device() as (driver, simulator):
        apply = simulator.model.set

        def garbled(row, value):  # type: ignore[no-untyped-def]
            apply(row, value)
            return False

        simulator.model.set = garbled  # type: ignore[method-assign]
        found = await driver.write("SP", 40.0)
        assert {name: (one.value, one.level) for name, one in found.items()} == {
            "SP": (40.0, Level.OK), "SP.RBV": (40.0, Level.OK),
        }  # fmt: skip
        assert [line for line in simulator.received if line.startswith("SP ")] == ["SP 40.0"]


async def test_a_refusal_of_a_device_that_has_taken_another_value_is_shown_as_taken_otherwise():
    async with text_device() as (driver, simulator):
        simulator.model.set = lambda row, value: bool(simulator.model.values.update({row.name: 30.0}))  # type: ignore
        with pytest.raises(TakenOtherwise, match="took 30 C instead of 40 C") as caught:
            await driver.write("SP", 40.0)
        assert caught.value.readings["SP"].value == 30.0
        assert caught.value.readings["SP.RBV"].level is Level.MINOR


async def test_a_read_only_device_and_a_reading_are_not_written():
    async with text_device(readonly=True) as (driver, _):
        with pytest.raises(Refused, match="readonly = true"):
            await driver.write("SP", 40.0)
        with pytest.raises(Refused, match="TEMP cannot be set"):
            await driver.write("TEMP", 40.0)


async def test_a_refusal_of_the_device_is_a_refusal():
    async with text_device() as (driver, simulator):
        simulator.model.set = lambda row, value: False  # type: ignore[method-assign]
        with pytest.raises(Refused, match="answered 'ERROR' instead of 'OK'"):
            await driver.write("SP", 40.0)
        assert (await driver.read(["SP", "SP.RBV"]))["SP"].value == 25.0


async def test_a_device_that_takes_another_value_is_shown_with_an_alarm_until_it_is_set_again():
    async with text_device() as (driver, simulator):
        simulator.model.set = lambda row, value: simulator.model.values.update({row.name: 30.0}) or True  # type: ignore
        with pytest.raises(TakenOtherwise, match="took 30 C instead of 40 C") as caught:
            await driver.write("SP", 40.0)
        assert {name: (one.value, one.level) for name, one in caught.value.readings.items()} == {
            "SP": (30.0, Level.MINOR), "SP.RBV": (30.0, Level.MINOR),
        }  # fmt: skip
        assert (await driver.read(["SP.RBV"]))["SP.RBV"].level is Level.MINOR
        await driver.write("SP", 30.0)
        assert (await driver.read(["SP.RBV"]))["SP.RBV"].level is Level.OK


async def test_a_lost_answer_is_decided_by_reading_back():
    async with text_device() as (driver, simulator):
        simulator.faults.mute = True
        assert (await driver.write("SP", 40.0))["SP.RBV"].value == 40.0


async def test_what_becomes_true_later_is_reported():
    async with text_device() as (driver, simulator):
        simulator.faults.mute, simulator.model.set = True, lambda row, value: True  # type: ignore[method-assign]
        with pytest.raises(Refused, match="gave no answer and reads back 25 C"):
            await driver.write("SP", 40.0)
        simulator.model.force("SP", "40")
        found = await driver.read(["SP.RBV"])
        assert (found["SP"].value, found["SP"].level) == (40.0, Level.MINOR)
        assert driver.stats.late == ["SP 40 C, whose outcome was unknown, has come true"]


async def test_a_connection_lost_behind_the_first_byte_leaves_the_outcome_unknown_until_it_is_read_again():
    async with text_device() as (driver, simulator):
        await driver.read(["SP"])
        Permit().use()
        simulator.faults.hang_up = True
        with pytest.raises(ReplyTimeout, match="SP: outcome unknown"):
            await driver.write("SP", 40.0)
        await driver.close()
        await driver.connect()
        found = await driver.read(["SP.RBV"])
        assert (found["SP"].value, found["SP"].level) == (40.0, Level.MINOR)
        assert driver.stats.late == ["SP 40 C, whose outcome was unknown, has come true"]


async def test_a_setting_without_answer_that_was_perhaps_sent_leaves_the_outcome_unknown(
    monkeypatch: pytest.MonkeyPatch,
):
    write = TcpTransport.write

    async def half(self: TcpTransport, data: bytes) -> None:
        await write(self, data)
        if data.startswith(b"Q "):
            raise ConnectionResetError("reset")

    async with text_device() as (driver, _):
        await driver.read(["QUIET"])
        monkeypatch.setattr(TcpTransport, "write", half)
        Permit().use()
        with pytest.raises(ReplyTimeout, match="QUIET: outcome unknown"):
            await driver.write("QUIET", 3)


async def test_a_connection_lost_before_the_first_byte_is_no_outcome_at_all():
    async with text_device() as (driver, simulator):
        Permit().use()
        await driver.close()
        with pytest.raises(LinkDown, match="nothing was sent"):
            await driver.write("SP", 40.0)
        assert not [line for line in simulator.received if line.startswith("SP ")]


async def test_a_difference_that_lasts_is_minor():
    async with text_device() as (driver, simulator):
        await driver.read(["SP.RBV"])
        simulator.model.force("SP", "30")
        levels = [(await driver.read(["SP.RBV"]))["SP.RBV"].level for _ in range(3)]
        assert levels == [Level.OK, Level.OK, Level.MINOR]
        assert (await driver.read(["SP"]))["SP"].value == 25.0


@pytest.mark.parametrize("name", ["SP", "QUIET", "RESET.CMD"])
async def test_without_leave_nothing_is_sent(name: str):
    async with text_device() as (driver, simulator):
        simulator.received.clear()
        Permit(lambda: "not armed").use()
        with pytest.raises(Withdrawn, match="not armed"):
            await driver.write(name, 1 if name != "SP" else 40.0)
        assert not [line for line in simulator.received if not line.endswith("?")]


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8), st.text(max_size=8))
def test_a_pattern_gives_back_what_was_filled_in(value: str, around: str):
    pattern = around.replace("{}", "") + "{}" + around[:3].replace("{}", "")
    if "{}" not in value and pattern.count("{}") == 1:
        assert gap_of(pattern, fill(pattern, value)) == value.strip()


@given(st.text(max_size=20))
def test_any_line_is_read_or_refused(line: str):
    for row in LINES:
        if row.readable:
            try:
                row.parse(line)
            except Garbled:
                continue


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([Line("A", ask="A?"), Line("A", ask="B?")], "A: there are two of this name"),
        ([Line("A", ask="A?", send="A {}")], "A: a setting has limits"),
        ([Line("A", ask="A?", send="A {}", text=True)], "A: a text cannot be set"),
        ([Line("A", send="A")], "A: a command, which cannot be read, and only a command, ends in .CMD"),
        ([Line("A", ask="A?", follows="B")], "A: follows B, which is not in the table"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(rows: list[Line], text: str):
    with pytest.raises(ValueError, match=text):
        text_family(type="x", title="X", template="x", rows=rows)


def test_an_address_of_no_line_is_refused():
    with pytest.raises(ValueError, match="allowed is tcp"):
        TEXT.make_driver(DeviceSettings("D1", "text", "http://x"))
