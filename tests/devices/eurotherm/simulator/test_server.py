"""Simulated furnaces on a serial line and over TCP, as foreign clients see them."""

import asyncio
import os
import time

import minimalmodbus
import pytest
import serial
from pymodbus.client import ModbusSerialClient

from devices.eurotherm.registers import REGISTERS, Inputs
from devices.eurotherm.simulator.command import SHARES, SWITCHES, BackDoor
from devices.eurotherm.simulator.model import EurothermModel
from devices.eurotherm.simulator.server import SimulatedFurnaces, simulated_furnaces
from devices.links.modbus import open_unit
from tests.fair_time import until


@pytest.fixture
async def furnaces(_task_check):
    async with simulated_furnaces({1: EurothermModel(), 2: EurothermModel()}) as line:
        line.slaves[1].model.held, line.slaves[2].model.held = 183.4, -12.4
        for slave in line.slaves.values():
            slave.model.settle()
        yield line


def with_pymodbus(device: str) -> None:
    client = ModbusSerialClient(device, baudrate=9600, timeout=0.5, retries=0)
    assert client.connect()
    try:
        assert client.read_holding_registers(1, count=1, device_id=1).registers == [1834]
        assert client.read_input_registers(1, count=1, device_id=2).registers == [0xFF84]
        values = client.read_holding_registers(0x8002, count=2, device_id=1).registers
        assert client.convert_from_registers(values, client.DATATYPE.FLOAT32) == pytest.approx(183.4)
        assert not client.write_register(24, 2600, device_id=1).isError()
        assert not client.write_registers(25, [1000], device_id=1).isError()
        words = client.convert_to_registers(99.25, client.DATATYPE.FLOAT32)
        assert not client.write_registers(REGISTERS["A1"].twin, words, device_id=1).isError()
        assert client.write_register(75, 1, device_id=1).exception_code == 3
        assert client.write_register(10, 1, device_id=1).exception_code == 2
        assert client.read_holding_registers(24, count=2, device_id=1).registers == [2600, 1000]
        assert client.diag_query_data(b"\x12\x34", device_id=1).message == b"\x12\x34"
    finally:
        client.close()


def with_minimalmodbus(device: str) -> None:
    instrument = minimalmodbus.Instrument(device, 1)
    try:
        instrument.serial.baudrate, instrument.serial.timeout = 9600, 0.2
        assert instrument.read_register(1, 1) == 183.4
        assert instrument.read_registers(1, 5)[0] == 1834
        assert instrument.read_float(0x8002) == pytest.approx(183.4)
        instrument.write_register(24, 261.0, 1, functioncode=6)
        instrument.write_register(25, 101.0, 1)
        instrument.write_float(REGISTERS["A1"].twin, 98.5)
        assert instrument.read_long(REGISTERS["Ti"].twin, signed=True) == 300_000
        with pytest.raises(minimalmodbus.IllegalRequestError):
            instrument.write_register(75, 1, functioncode=6)
    finally:
        instrument.serial.close()
        minimalmodbus._serialports.pop(device)


@pytest.mark.parametrize(
    ("client", "expected"), [(with_pymodbus, (260.0, 100.0, 99.25)), (with_minimalmodbus, (261.0, 101.0, 98.5))]
)
async def test_foreign_clients_read_and_write_it(furnaces, client, expected):
    await asyncio.to_thread(client, furnaces.device)
    memory = furnaces.model.memory
    assert (memory["SP1"], memory["SP2"], memory["A1"]) == expected


async def test_characters_take_their_time_when_wanted():
    furnaces = SimulatedFurnaces(realtime=True)
    furnaces.latencies = (0.01, 0.01)
    await furnaces.start()
    unit = open_unit(furnaces.address, 1, 1.0)
    await unit.connect()
    try:
        await unit.read_registers(1, 5)
        theory = (8 + 3.5 + 15) * 10 / 9600 + 0.01
        assert theory - 1e-3 < unit.stats.rtt < theory + 0.5
    finally:
        await unit.close()
        await furnaces.stop()


async def test_time_is_that_of_the_clock():
    now = 0.0
    async with simulated_furnaces(clock=lambda: now) as furnaces:
        furnaces.model.memory["SP1"] = 500.0
        now = 600.0
        furnaces.advance()
        assert furnaces.model.memory["PV.IN"] > 300.0


async def test_nothing_is_left_of_it():
    before = set(os.listdir("/proc/self/fd"))
    furnaces = SimulatedFurnaces()
    with pytest.raises(RuntimeError, match="not started"):
        furnaces.address.split()
    for _ in range(3):
        await furnaces.start()
        device = furnaces.device
        await furnaces.plug_in()
        await furnaces.unplug()
        await furnaces.unplug()
        await furnaces.stop()
        with pytest.raises(FileNotFoundError):
            os.readlink(device)
    assert set(os.listdir("/proc/self/fd")) == before


async def test_answers_that_are_not_read_do_not_stop_it(furnaces):
    request = bytes.fromhex("01 03 00 01 00 7D D4 2B")

    def flood(port: serial.Serial) -> None:
        for _ in range(100):
            port.write(request)
            time.sleep(0.0005)

    def drain(port: serial.Serial) -> None:
        while port.read(4096):
            pass

    with serial.Serial(furnaces.device, 9600, timeout=0.3, write_timeout=1.0) as port:
        await asyncio.to_thread(flood, port)
        await until(furnaces._terminal._requests.empty, 30.0)  # what is left would go to the next client
        await asyncio.to_thread(drain, port)
    await asyncio.to_thread(with_pymodbus, furnaces.device)


@pytest.fixture
async def door(furnaces):
    back = BackDoor(furnaces)
    await back.start()
    yield back
    await back.stop()


async def say(door: BackDoor, line: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write(line.encode() + b"\n")
    answer = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return answer.decode().strip()


async def test_every_fault_has_a_switch(furnaces, door):
    for name in SWITCHES:
        assert await door.execute(f"{name} on") == "ok"
        assert getattr(furnaces.faults, name) is True
        assert await door.execute(f"{name} off") == "ok"
    for name in SHARES:
        assert await door.execute(f"{name} 5") == "ok"
        assert getattr(furnaces.faults, name) == 5.0
    assert await door.execute("delay 0.5") == "ok"
    assert await door.execute("exception 6") == "ok"
    assert (furnaces.faults.delay, furnaces.faults.exception) == (0.5, 6)


async def test_the_back_door_reaches_states_that_no_client_can(furnaces, door):
    model = furnaces.model
    assert "unit 1 183.40 C" in await say(door, "show")
    assert await door.execute("set 1 SP1 321.5") == "ok"
    assert await door.execute("get 1 SP1") == "321.5"
    assert await door.execute("mains 1 off") == "ok"
    assert model.silent
    assert await door.execute("mains 1 on") == "ok"
    assert await door.execute("pass 10") == "ok"
    assert not model.silent
    assert int(model.memory["Di.IP"]) & Inputs.MAINS_FAILED
    assert await door.execute("acknowledge 1") == "ok"
    assert not int(model.memory["Di.IP"]) & Inputs.MAINS_FAILED
    assert await door.execute("sensor 1 nan") == "ok"
    assert model.memory["SBR"] == 1
    assert await door.execute("sensor 1 ok") == "ok"
    assert model.memory["SBR"] == 0
    assert await door.execute("heater 2 off") == "ok"
    assert furnaces.slaves[2].model.furnace.heater_broken
    model.held = None
    assert await door.execute("temperature 1 400") == "ok"
    assert await door.execute("drift 1 -5") == "ok"
    model.settle()
    assert model.memory["PV.IN"] == pytest.approx(395.0, abs=1.0)
    assert await door.execute("floats 1 off") == "ok"
    assert not furnaces.slaves[1].float_area


async def test_the_port_can_be_pulled_and_renumbered(furnaces, door):
    assert await door.execute("plug off") == "ok"
    with pytest.raises(FileNotFoundError):
        os.readlink(furnaces.device)
    assert await door.execute("plug on") == "ok"
    number = os.readlink(furnaces.device)
    assert await door.execute("plug renumber") == "ok"
    assert os.readlink(furnaces.device) != number


@pytest.mark.parametrize(
    "line",
    ["", "nonsense", "mains 1", "mains 3 on", "mains 1 maybe", "get 1 SP3", "set 1 SP1 nan", "sensor 1 lost", "crc 101",
     "crc x", "delay -1", "delay nan", "exception 256", "plug in", "pass inf", "temperature 1 hot"],
)  # fmt: skip
async def test_what_the_back_door_does_not_understand_it_says(door, line):
    answer = await door.execute(line)
    assert answer.startswith("error")


async def test_the_back_door_explains_itself(door):
    answer = await say(door, "help")
    for name in ("mains UNIT on|off", "crc PERCENT", "plug on|off|renumber"):
        assert name in answer
