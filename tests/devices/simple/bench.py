"""Simple devices on a bench: their own simulators over real transports, with time that only the test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from devices.family import Family
from devices.model import DeviceSettings
from devices.simple import Line, Register, modbus_family, text_family
from devices.simple.device import SimpleDriver
from devices.simple.simulator.modbus import SimulatedRegisters
from devices.simple.simulator.text import SimulatedText

LINES = (
    Line("IDN", ask="*IDN?", text=True, simulated="ACME"),
    Line("TEMP", ask="T?", answer="T {} C", unit="C", decimals=2, no_reading=("OPEN",), simulated=20.0),
    Line("SP", ask="SP?", answer="SP {} C", send="SP {}", unit="C", decimals=1, limits=(5, 95), simulated=25.0),
    Line("STIR", ask="ST?", send="ST {}", labels=("OFF", "ON"), words=("0", "1")),
    Line("QUIET", ask="Q?", send="Q {}", done=None, whole=True, limits=(0, 9)),
    Line("RESET.CMD", send="*RST"),
)
TEXT = text_family(type="text", title="Text", template="none", rows=LINES)

REGISTERS = (
    Register("TEMP", register=100, scale=0.1, unit="C", decimals=1, simulated=20.0),
    Register("COUNT", register=101, form="uint32", whole=True, simulated=70000),
    Register("FLOW", register=103, form="float32", swapped=True, unit="l/min", simulated=1.5),
    Register("SP", register=200, scale=0.1, unit="C", decimals=1, writable=True, limits=(-10, 95), simulated=25.0),
    Register("GAIN", register=300, form="float32", writable=True, limits=(0, 1e6), decimals=3, simulated=1.0),
    Register("MODE", register=302, labels=("OFF", "AUTO", "MAN"), writable=True),
)
MODBUS = modbus_family(type="modbus", title="Modbus", template="none", rows=REGISTERS)


@asynccontextmanager
async def text_device(**settings: Any) -> AsyncIterator[tuple[SimpleDriver[Line], SimulatedText]]:
    async with _running(TEXT, {"timeout": 0.2, **settings}) as (driver, simulator):
        yield driver, simulator


@asynccontextmanager
async def modbus_device(**settings: Any) -> AsyncIterator[tuple[SimpleDriver[Register], SimulatedRegisters]]:
    async with _running(MODBUS, {"timeout": 0.2, **settings}) as (driver, simulator):
        yield driver, simulator


@asynccontextmanager
async def _running(family: Family, settings: dict[str, Any]) -> AsyncIterator[tuple[Any, Any]]:
    simulator: Any = family.make_simulator(DeviceSettings("D1", family.type), 0)
    await simulator.start()
    driver: Any = family.make_driver(DeviceSettings("D1", family.type, simulator.address, **settings))
    try:
        await driver.connect()
        yield driver, simulator
    finally:
        await driver.close()
        await simulator.stop()
