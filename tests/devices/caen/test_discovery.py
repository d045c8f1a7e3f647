"""Looking for a CAEN supply: at simulated units, over TCP and a serial line."""

from __future__ import annotations

import pytest

from devices.caen import discovery
from devices.caen.discovery import DISCOVERY
from devices.caen.protocol import Profile
from devices.caen.simulator.model import CaenModel
from devices.caen.simulator.server import simulated_supply
from devices.discovery import Found
from devices.eurotherm.simulator.server import simulated_furnaces


async def look(place: str) -> tuple[list[Found], str]:
    lines: list[str] = []
    found = await DISCOVERY.look(place, lines.append)
    return list(found), "\n".join(lines)


@pytest.mark.parametrize(
    ("model", "query", "start"),
    [
        (CaenModel(Profile.A, channels=4), "", (b"$CMD:MON,",)),
        (CaenModel(Profile.B, channels=2, board=5), "?board=5", (b"$CMD:MON,", b"$BD:05,CMD:MON,")),
    ],
    ids=["DT5533E", "N1470"],
)
async def test_GIVEN_a_supply_WHEN_looked_for_THEN_it_is_described_and_only_asked(
    model: CaenModel, query: str, start: tuple[bytes, ...]
) -> None:
    async with simulated_supply(model) as supply:
        model.channels[0].vset = 321.0
        found, _ = await look(f"tcp://127.0.0.1:{supply.port}{query}")
        (one,) = found
        assert one.keys["address"] == f"tcp://127.0.0.1:{supply.port}"
        assert one.keys["serial"] == model.serial
        assert one.keys["channels"] == len(model.channels)
        assert one.keys.get("board", 0) == model.board
        assert one.keys["limits"]["VSET"] == (0.0, 4000.0)
        assert one.keys["limits"]["ISET"][1] == 3000.0
        assert model.name in one.text
        assert f"{len(model.channels)} channels" in one.text
        assert all(line.startswith(start) for line in supply.received), list(supply.received)
        assert model.channels[0].vset == 321.0


async def test_GIVEN_channels_with_limits_of_their_own_WHEN_looked_for_THEN_each_has_its_section() -> None:
    model = CaenModel(Profile.A, channels=2)
    model.channels[1].maxv = 1200.0
    async with simulated_supply(model) as supply:
        found, _ = await look(f"tcp://127.0.0.1:{supply.port}")
    assert "limits" not in found[0].keys
    assert found[0].keys["channel"]["0"]["limits"]["VSET"] == (0.0, 4000.0)
    assert found[0].keys["channel"]["1"]["limits"]["VSET"] == (0.0, 1200.0)


async def test_GIVEN_a_host_alone_WHEN_looked_for_THEN_the_usual_ports_are_tried(
    monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    async with simulated_supply(CaenModel(Profile.A)) as supply:
        monkeypatch.setattr(discovery, "PORTS", (unused_tcp_port, supply.port))
        found, shown = await look("127.0.0.1")
        assert found[0].keys["address"] == f"tcp://127.0.0.1:{supply.port}"
        assert f"tcp://127.0.0.1:{unused_tcp_port}: cannot connect" in shown
        assert shown.count("asking for BDNAME") == 2


async def test_GIVEN_a_serial_port_WHEN_looked_for_THEN_the_supply_is_found_at_a_usual_rate() -> None:
    async with simulated_supply(CaenModel(Profile.A)) as supply:
        path = await supply.plug_in_serial()
        found, _ = await look(path)
        assert found[0].keys["address"] == f"serial://{path}?baudrate=9600"
        assert all(line.startswith(b"$CMD:MON,") for line in supply.received)


async def test_GIVEN_a_supply_in_local_WHEN_looked_for_THEN_that_is_reported() -> None:
    model = CaenModel(Profile.B)
    model.local = True
    async with simulated_supply(model) as supply:
        found, _ = await look(f"tcp://127.0.0.1:{supply.port}")
    assert "LOCAL" in found[0].text


async def test_GIVEN_a_supply_without_a_serial_number_WHEN_looked_for_THEN_none_is_written_down() -> None:
    model = CaenModel(Profile.A)
    model.unknown.add("BDSNUM")
    async with simulated_supply(model) as supply:
        found, _ = await look(f"tcp://127.0.0.1:{supply.port}")
    assert "serial" not in found[0].keys
    assert "serial unknown" in found[0].text


async def test_GIVEN_a_furnace_controller_WHEN_a_supply_is_looked_for_there_THEN_none_and_nothing_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(discovery, "BAUDRATES", (9600,))
    async with simulated_furnaces() as furnaces:
        found, shown = await look(f"serial://{furnaces.device}")
        assert found == []
        assert "no answer" in shown
        assert furnaces.slaves[1].model.memory.wear.total() == 0


async def test_GIVEN_a_port_that_is_not_there_WHEN_looked_for_THEN_it_is_tried_once() -> None:
    found, shown = await look("serial:///dev/no-such-port")
    assert found == []
    assert shown.count("asking for") == 1
    assert "no-such-port" in shown


@pytest.mark.parametrize("place", ["can://socketcan/can0", "", "tcp://host:port", "tcp://h:23?board=32"])
async def test_a_place_that_is_none_says_what_is_allowed(place: str) -> None:
    with pytest.raises(ValueError, match="allowed"):
        await DISCOVERY.look(place, lambda _: None)
