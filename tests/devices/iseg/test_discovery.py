"""Looking for Iseg modules: the bus is only listened to."""

from __future__ import annotations

import asyncio
from pathlib import Path

import can
import pytest

from devices.discovery import Found, can_cards, is_up
from devices.iseg import discovery
from devices.iseg.discovery import DISCOVERY
from devices.iseg.edcp.items import BY_NAME
from devices.iseg.edcp.protocol import read, registration
from devices.iseg.simulator.bus import SimulatedIsegBus
from devices.iseg.simulator.module import E08F2, E16C1, SimulatedIsegModule
from tests.devices.iseg.bench import fresh_channel


async def look(place: str) -> tuple[list[Found], str]:
    lines: list[str] = []
    found = await DISCOVERY.look(place, lines.append)
    return list(found), "\n".join(lines)


def send(bus: can.BusABC, frame: object) -> None:
    bus.send(can.Message(arbitration_id=frame.id, data=frame.data, is_extended_id=False))  # type: ignore[attr-defined]


async def test_GIVEN_modules_that_announce_themselves_WHEN_listened_to_THEN_they_are_found_and_nothing_is_sent() -> (
    None
):
    channel = fresh_channel().replace(" ", "-")
    modules = [SimulatedIsegModule(3, E08F2, channels=8), SimulatedIsegModule(12, E16C1)]
    segment = SimulatedIsegBus(modules, "virtual", channel=channel)
    segment.open()
    try:
        found, shown = await look(f"can://virtual/{channel}?seconds=2")
    finally:
        segment.close()
    assert [(one.number, one.keys["channels"]) for one in found] == [(3, 8), (12, 16)]
    assert found[0].text == "module 3, E08F2"
    assert found[0].adapter == {"interface": "virtual", "channel": channel}
    assert "nothing is sent" in shown
    assert list(segment.received) == []


async def test_GIVEN_a_module_that_another_program_uses_WHEN_listened_to_THEN_it_is_named_and_left_alone() -> None:
    channel = fresh_channel().replace(" ", "-")
    segment = SimulatedIsegBus([SimulatedIsegModule(5, E16C1)], "virtual", channel=channel)
    segment.open()
    with can.Bus(interface="virtual", channel=channel) as other:
        send(other, registration(5, True))
        looking = asyncio.create_task(look(f"can://virtual/{channel}?seconds=1"))
        while not looking.done():
            send(other, read(5, BY_NAME["ModuleStatus"]))
            await asyncio.sleep(0.1)
        segment.close()
    found, shown = looking.result()
    assert found == []
    assert "module 5 is in use by another program" in shown


async def test_GIVEN_a_silent_bus_WHEN_listened_to_THEN_the_report_says_what_to_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(discovery, "_wait", lambda _: asyncio.sleep(0))
    found, shown = await look("can://virtual/empty")
    assert found == []
    assert "no frame at all" in shown


async def test_GIVEN_an_adapter_that_is_not_there_WHEN_listened_to_THEN_the_reason_is_reported() -> None:
    found, shown = await look("can://slcan/dev/no-such-port")
    assert found == []
    assert "no-such-port" in shown


async def test_GIVEN_a_card_that_is_off_WHEN_looked_at_THEN_the_command_that_switches_it_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, kind, flags in (("can0", "280", "0x40080"), ("can1", "280", "0x40081"), ("eth0", "1", "0x1003")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "type").write_text(f"{kind}\n")
        (tmp_path / name / "flags").write_text(f"{flags}\n")
    assert can_cards(tmp_path) == ["can0", "can1"]
    assert (is_up("can0", tmp_path), is_up("can1", tmp_path), is_up("can9", tmp_path)) == (False, True, True)
    monkeypatch.setattr(discovery, "is_up", lambda card: is_up(card, tmp_path))
    found, shown = await look("can0")
    assert found == []
    assert "sudo ip link set can0 up type can bitrate 125000" in shown


@pytest.mark.parametrize(
    "place", ["", "can://socketcan", "can://nocan/can0", "can://slcan/dev/x?speed=1", "can://virtual/x?seconds=0"]
)
async def test_a_place_that_is_none_says_what_is_allowed(place: str) -> None:
    with pytest.raises(ValueError, match="allowed"):
        await DISCOVERY.look(place, lambda _: None)
