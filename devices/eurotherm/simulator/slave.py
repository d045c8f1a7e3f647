"""Modbus requests to a simulated Eurotherm 3200, as HA026230 describes the answers; no port, no clock."""

from __future__ import annotations

import struct

from devices.eurotherm.registers import FILLER, Form, Register
from devices.eurotherm.simulator.memory import WriteError
from devices.eurotherm.simulator.model import CONFIGURATION, EurothermModel
from devices.links.modbus_frames import EXCEPTION, READ, WRITE, WRITE_ONE, is_frame, with_crc
from devices.links.modbus_words import IEEE_AREA

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
        self.float_area, self.gaps_refused, self.longest = True, False, 125
        model.memory["ADDR"] = unit

    def respond(self, frame: bytes) -> bytes:
        """Return the reply; empty for a foreign or broken frame, a broadcast, an unknown function, and mains off."""
        if frame_length(frame) != len(frame) or not is_frame(frame):
            return b""
        if frame[0] not in (self.unit, BROADCAST) or self.model.silent:
            return b""
        function, data = frame[1], frame[2:-2]
        try:
            answer = self._execute(function, data)
        except WriteError as error:
            function, answer = function | EXCEPTION, bytes(error.args)
        return b"" if answer is None or frame[0] == BROADCAST else with_crc(bytes((frame[0], function)) + answer)

    def _execute(self, function: int, data: bytes) -> bytes | None:
        if function in (READ, READ_INPUT):
            address, count = struct.unpack(">HH", data)
            words = self._read(address, count)
            return bytes((2 * count,)) + struct.pack(f">{count}H", *words)
        if function == WRITE_ONE:
            address, word = struct.unpack(">HH", data)
            if address >= IEEE_AREA or self.model.memory.present(address) is None:
                raise WriteError(ILLEGAL_ADDRESS)
            self._write_words(address, (word,))
            return data
        if function == WRITE:
            return self._write_block(data)
        if function == FAST_STATUS:
            return bytes((int(self.model.memory["StAt"]) & 0xFF,))
        return data if function == LOOP_BACK else None

    def _read(self, address: int, count: int) -> list[int]:
        if not 1 <= count <= self.longest:
            raise WriteError(ILLEGAL_VALUE)
        if address < IEEE_AREA:
            return [self._word(at) for at in range(address, address + count)]
        if not self.float_area or address % 2 or address + count > 0x10000:
            raise WriteError(ILLEGAL_ADDRESS)
        first = (address - IEEE_AREA) // 2
        words = [word for at in range(first, first + (count + 1) // 2) for word in self._twin(at)]
        return words[:count]

    def _word(self, address: int) -> int:
        register = self.model.memory.present(address)
        if register is None and self.gaps_refused:
            raise WriteError(ILLEGAL_ADDRESS)
        return FILLER if register is None else self.model.memory.word(register)

    def _twin(self, address: int) -> tuple[int, int]:
        register = self.model.memory.present(address)
        if register is None and self.gaps_refused:
            raise WriteError(ILLEGAL_ADDRESS)
        return (FILLER, FILLER) if register is None else self.model.memory.twin(register)

    def _write_block(self, data: bytes) -> bytes:
        address, count, size = struct.unpack(">HHB", data[:5])
        if not 1 <= count <= 123 or size != 2 * count or len(data) != 5 + size:
            raise WriteError(ILLEGAL_VALUE)
        words = struct.unpack(f">{count}H", data[5:])
        if address < IEEE_AREA:
            self._write_words(address, words)
        elif not self.float_area or address % 2:
            raise WriteError(ILLEGAL_ADDRESS)
        else:
            self._write_twins((address - IEEE_AREA) // 2, words)
        return data[:4]

    def _write_words(self, address: int, words: tuple[int, ...]) -> None:
        memory = self.model.memory
        for at, word in enumerate(words, address):
            register = memory.present(at)
            if register is not None:  # what does not exist is accepted and dropped
                self._store(register, memory.from_word(register, word))

    def _write_twins(self, address: int, words: tuple[int, ...]) -> None:
        memory = self.model.memory
        for n in range(0, len(words), 2):
            register, pair = memory.present(address + n // 2), words[n : n + 2]
            if register is None:
                continue
            if len(pair) < 2 and register.form in (Form.FLOAT, Form.TIME):
                raise WriteError(ILLEGAL_VALUE)
            self._store(register, memory.from_twin(register, pair[0], pair[-1]))

    def _store(self, register: Register, value: float) -> None:
        model = self.model
        left = register.name == "IM" and model.memory["IM"] == CONFIGURATION and value != CONFIGURATION
        model.memory.store(register, value)
        model.written(register.name)
        if left:
            model.leave_configuration()
