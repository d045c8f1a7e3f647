"""Looking for furnace controllers on a line."""

from __future__ import annotations

import termios

import pytest

from devices.discovery import Found
from devices.eurotherm import discovery
from devices.eurotherm.discovery import DISCOVERY
from devices.eurotherm.simulator.model import EurothermModel
from devices.eurotherm.simulator.server import SimulatedFurnaces, simulated_furnaces
from devices.links.modbus_frames import READ


async def look(place: str) -> tuple[list[Found], str]:
    lines: list[str] = []
    found = await DISCOVERY.look(place, lines.append)
    return list(found), "\n".join(lines)


def only_reads(furnaces: SimulatedFurnaces) -> bool:
    return bool(furnaces.received) and all(frame[1] == READ for frame in furnaces.received)


async def test_GIVEN_two_controllers_WHEN_looked_for_THEN_both_are_described_and_only_read() -> None:
    hot = EurothermModel()
    hot.memory["SP.HI"] = 850.0
    async with simulated_furnaces({2: EurothermModel(), 4: hot}) as furnaces:
        found, _ = await look(f"{furnaces.device}?units=1-4")
        assert [one.keys["unit"] for one in found] == [one.number for one in found] == [2, 4]
        assert found[0].keys["address"] == f"serial://{furnaces.device}?baudrate=9600"
        assert found[0].keys["limits"] == {"TSET": (0.0, 1200.0)}
        assert found[1].keys["limits"] == {"TSET": (0.0, 850.0)}
        assert found[0].text == "unit 2 at 9600 baud, firmware 2.13, type code 3216, 25 C now"
        assert only_reads(furnaces)


async def test_GIVEN_an_instrument_without_floats_WHEN_looked_for_THEN_its_limits_have_the_right_scale() -> None:
    async with simulated_furnaces({1: EurothermModel()}) as furnaces:
        furnaces.slaves[1].float_area = False
        found, _ = await look(f"serial://{furnaces.device}?baudrate=9600&parity=none&units=1")
        assert found[0].keys["limits"] == {"TSET": (0.0, 1200.0)}
        assert only_reads(furnaces)


async def test_GIVEN_another_bit_rate_WHEN_looked_for_THEN_the_line_is_found_at_it() -> None:
    async with simulated_furnaces({1: EurothermModel()}) as furnaces:

        def at_19200(reply: bytes) -> bytes:
            terminal = furnaces._terminal
            assert terminal is not None
            good = termios.tcgetattr(terminal.ours)[5] == termios.B19200
            return reply if good else bytes(byte | 0x80 for byte in reply)

        furnaces.faults.mangle = at_19200
        found, shown = await look(f"serial://{furnaces.device}?units=1")
        assert found[0].keys["address"] == f"serial://{furnaces.device}?baudrate=19200"
        assert [line for line in shown.splitlines() if line.startswith("asking")] == [
            "asking addresses 1 to 1 at 9600 baud, parity none",
            "asking addresses 1 to 1 at 19200 baud, parity none",
        ]
        assert only_reads(furnaces)


async def test_GIVEN_no_controller_WHEN_looked_for_THEN_the_report_says_what_to_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(discovery, "TIMEOUT", 0.05)
    async with simulated_furnaces({9: EurothermModel()}) as furnaces:
        found, shown = await look(f"serial://{furnaces.device}")
        assert found == []
        assert shown.count("asking addresses 1 to 8") == len(discovery.LINES)
        assert "is its address (ADDR) within 1 to 8?" in shown


async def test_GIVEN_another_kind_of_instrument_WHEN_looked_for_THEN_it_is_not_taken_for_one() -> None:
    async with simulated_furnaces({1: EurothermModel()}) as furnaces:
        furnaces.faults.exception = 2
        found, shown = await look(f"serial://{furnaces.device}?baudrate=9600&parity=none&units=1-2")
        assert found == []
        assert "unit 1" in shown


async def test_GIVEN_a_port_that_is_not_there_WHEN_looked_for_THEN_it_is_tried_once() -> None:
    found, shown = await look("serial:///dev/no-such-port")
    assert found == []
    assert shown.count("asking") == 1
    assert "cannot open" in shown


@pytest.mark.parametrize("place", ["tcp://h:23", "serial:///dev/x?units=0-4", "serial:///dev/x?units=a", "serial://"])
async def test_a_place_that_is_none_says_what_is_allowed(place: str) -> None:
    with pytest.raises(ValueError, match="allowed"):
        await DISCOVERY.look(place, lambda _: None)
