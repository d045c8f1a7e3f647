"""What tests of the model of a furnace controller do as its client."""

from devices.eurotherm.registers import REGISTERS, Status
from devices.eurotherm.simulator.model import EurothermModel
from devices.eurotherm.simulator.slave import Slave
from devices.links.modbus_frames import WRITE_ONE, Request

MINUTE = 60.0


def status(model: EurothermModel) -> Status:
    return Status(int(model.memory["StAt"]))


def write(model: EurothermModel, name: str, value: float, unit: int = 1) -> int:
    """Write one word as a client does and return the exception code, 0 when it was accepted."""
    register = REGISTERS[name]
    raw = round(value * 10 ** model.memory.decimals(register)) & 0xFFFF
    reply = Slave(model).respond(Request(unit, WRITE_ONE, register.address, 1, (raw,)).frame)
    return reply[2] if reply[1] & 0x80 else 0
