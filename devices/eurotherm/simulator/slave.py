"""Modbus requests to a simulated Eurotherm 3200, as HA026230 describes the answers; no port, no clock."""

from __future__ import annotations

import struct

from devices.eurotherm.registers import FILLER, Form, Register
from devices.eurotherm.simulator.memory import WriteError
from devices.eurotherm.simulator.model import EurothermModel
from devices.links.modbus_frames import EXCEPTION, IEEE_AREA, LONGEST, READ, WRITE, WRITE_ONE, is_frame, with_crc

READ_INPUT, FAST_STATUS, LOOP_BACK = 4, 7, 8
BROADCAST = 0
ILLEGAL_ADDRESS, ILLEGAL_VALUE = 2, 3


def frame_length(data: bytes) -> int:
    """Return how long the request is that data begins with; 0 when that is not known (yet)."""
    if len(data) < 2:
        return 0
    if data[1] == WRITE:
        return 9 + data[6] if len(data) > 6 else 0
    return {READ: 8, READ_INPUT: 8, WRITE_ONE: 8, LOOP_BACK: 8, FAST_STATUS: 4}.get(data[1], 0)


class Slave:
    """Answers for one unit address.

    ``float_area``: the IEEE area exists. ``longest`` is the number of words in one request. ``gaps_refused``: a block
    with an address that holds no parameter is refused instead of read as 0x8000.
    """

    def __init__(self, model: EurothermModel, unit: int = 1) -> None:
        self.model = model
        self.unit = unit
        self.float_area, self.gaps_refused, self.longest = True, False, LONGEST[READ]
        model.memory["ADDR"] = unit

    def respond(self, frame: bytes) -> bytes:
        """Return the reply; empty for a foreign or broken frame, a broadcast, an unknown function, and mains off."""
        if frame_length(frame) != len(frame) or not is_frame(frame):
            return b""
        if frame[0] not in (self.unit, BROADCAST) or self.model.silent:
            return b""
        function = frame[1]
        try:
            answer = self._execute(function, frame[2:-2])
        except WriteError as error:
            function, answer = function | EXCEPTION, bytes(error.args)
        return b"" if frame[0] == BROADCAST else with_crc(bytes((frame[0], function)) + answer)

    def _execute(self, function: int, data: bytes) -> bytes:
        if function == FAST_STATUS:
            return bytes((int(self.model.memory["StAt"]) & 0xFF,))
        if function == LOOP_BACK:
            return data
        address, count = struct.unpack_from(">HH", data)
        if function == WRITE_ONE:
            if address >= IEEE_AREA or self.model.memory.present(address) is None:
                raise WriteError(ILLEGAL_ADDRESS)
            self._write(address, (count,))  # the word stands where others have the count
            return data
        writes = function == WRITE
        if not 1 <= count <= (LONGEST[WRITE] if writes else self.longest) or (writes and len(data) != 5 + 2 * count):
            raise WriteError(ILLEGAL_VALUE)
        if address >= IEEE_AREA and (not self.float_area or address % 2):
            raise WriteError(ILLEGAL_ADDRESS)
        if writes:
            self._write(address, struct.unpack(f">{count}H", data[5:]))
            return data[:4]
        if address + count > 0x10000:
            raise WriteError(ILLEGAL_ADDRESS)
        return bytes((2 * count,)) + struct.pack(f">{count}H", *self._read(address, count))

    def _read(self, address: int, count: int) -> list[int]:
        if address < IEEE_AREA:
            return [self._word(at) for at in range(address, address + count)]
        first = (address - IEEE_AREA) // 2
        return [word for at in range(first, first + (count + 1) // 2) for word in self._twin(at)][:count]

    def _word(self, address: int) -> int:
        register = self._present(address)
        return FILLER if register is None else self.model.memory.word(register)

    def _twin(self, address: int) -> tuple[int, int]:
        register = self._present(address)
        return (FILLER, FILLER) if register is None else self.model.memory.twin(register)

    def _present(self, address: int) -> Register | None:
        register = self.model.memory.present(address)
        if register is None and self.gaps_refused:
            raise WriteError(ILLEGAL_ADDRESS)
        return register

    def _write(self, address: int, words: tuple[int, ...]) -> None:
        memory, width = self.model.memory, 1
        if address >= IEEE_AREA:
            address, width = (address - IEEE_AREA) // 2, 2
        for n in range(0, len(words), width):
            register, some = memory.present(address + n // width), words[n : n + width]
            if register is None:
                continue  # what does not exist is accepted and dropped
            if len(some) < width and register.form in (Form.FLOAT, Form.TIME):
                raise WriteError(ILLEGAL_VALUE)
            twin = width == 2
            value = memory.from_twin(register, some[0], some[-1]) if twin else memory.from_word(register, some[0])
            self.model.write(register, value)
