"""A simulated Modbus device: the registers of its table on a pseudo terminal, over Modbus RTU."""

from __future__ import annotations

import struct
import time
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass

from devices.links.modbus_frames import EXCEPTION, READ, WRITE, WRITE_ONE, is_frame, with_crc
from devices.model import DeviceSettings
from devices.simple.modbus import Register
from devices.simple.simulator.model import TableModel
from devices.simulation.backdoor import TextDoor
from devices.simulation.ports import PseudoTerminal
from devices.simulation.simulation import ModelTime, Simulation

ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE = 1, 2, 3


@dataclass(slots=True)
class Faults:
    """What is wrong: nothing answered, wrong check sums, settings taken but not answered."""

    silent: bool = False
    crc: bool = False
    mute: bool = False


class SimulatedRegisters:
    """One unit on a serial line of its own; ``received`` are the frames that it was sent."""

    def __init__(self, rows: tuple[Register, ...], unit: int = 1) -> None:
        self.model = TableModel(rows)
        self.faults = Faults()
        self.received: list[bytes] = []
        self._rows = rows
        self._unit = unit
        self._time = ModelTime(self.model.step, time.monotonic)
        self._terminal: PseudoTerminal | None = None
        self._data = b""

    @property
    def address(self) -> str:
        """The address for a site file, once started."""
        return f"serial://{self._terminal.path if self._terminal is not None else ''}?baudrate=9600"

    async def start(self) -> None:
        """Make the port and let time pass."""
        self._terminal = PseudoTerminal(self._take)
        self._time.start("simulated device")

    async def stop(self) -> None:
        """Let time stand still, and close the port."""
        await self._time.stop()
        if self._terminal is not None:
            self._terminal.close()
            self._terminal = None

    def _take(self, data: bytes) -> None:
        self._data += data
        while len(self._data) > 7:
            length = 9 + self._data[6] if self._data[1] == WRITE else 8
            if len(self._data) < length:
                return
            frame, self._data = self._data[:length], self._data[length:]
            if not is_frame(frame):
                self._data = b""
                return
            answer = self.respond(frame)
            if answer and self._terminal is not None:
                self._terminal.write(answer)

    def respond(self, frame: bytes) -> bytes:
        """Return the reply to a frame; empty for none."""
        self.received.append(frame)
        if frame[0] != self._unit or self.faults.silent:
            return b""
        self._time.advance()
        function = frame[1]
        code, answer = self._execute(function, frame[2:-2])
        if self.faults.mute and function != READ and not code:
            return b""
        reply = bytes((self._unit, function | EXCEPTION, code)) if code else bytes((self._unit, function)) + answer
        return with_crc(reply)[:-1] + b"\0" if self.faults.crc else with_crc(reply)

    def _execute(self, function: int, data: bytes) -> tuple[int, bytes]:
        """Return the code of an exception, or 0 and what the reply holds."""
        start, count = struct.unpack_from(">HH", data)
        if function == READ:
            memory = self._memory()
            if any(at not in memory for at in range(start, start + count)):
                return ILLEGAL_ADDRESS, b""
            return 0, bytes((2 * count,)) + struct.pack(f">{count}H", *(memory[start + at] for at in range(count)))
        if function not in (WRITE_ONE, WRITE):
            return ILLEGAL_FUNCTION, b""
        words = [count] if function == WRITE_ONE else list(struct.unpack_from(f">{count}H", data, 5))
        row = next((row for row in self._rows if row.settable and row.register == start), None)
        if row is None or len(words) != row.words:
            return ILLEGAL_ADDRESS, b""
        value = row.parse(words)
        if not isinstance(value, int | float) or not self.model.set(row, value):
            return ILLEGAL_VALUE, b""
        return 0, data[:4]

    def _memory(self) -> dict[int, int]:
        memory: dict[int, int] = {}
        for row in self._rows:
            value = self.model.values[row.name]
            words = row.format(value if isinstance(value, int | float) else 0)
            memory.update(enumerate(words, row.register))
        return memory


def _door(device: SimulatedRegisters, port: int) -> TextDoor:
    return TextDoor(port, device.model.commands(device.faults, "silent", "crc", "mute"))


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--unit", type=int, choices=range(1, 255), default=1, metavar="N", help="1 to 254")


async def _announce(device: SimulatedRegisters, args: Namespace) -> list[str]:
    return [f"unit {args.unit} with {len(device.model.rows)} quantities at {device.address}"]


def simulation(rows: tuple[Register, ...]) -> Simulation[SimulatedRegisters]:
    """Return how a Modbus device of this table is simulated."""

    def make(settings: DeviceSettings, _port: int) -> SimulatedRegisters:
        return SimulatedRegisters(rows, int(settings.options.get("unit", 1)))

    return Simulation(
        make=make,
        from_arguments=lambda args: SimulatedRegisters(rows, args.unit),
        add_arguments=_add_arguments,
        announce=_announce,
        back_door=_door,
        example="silent on",
        effect=f"{{device}}:{rows[0].name.replace('.', ':')} turns INVALID until silent off",
    )
