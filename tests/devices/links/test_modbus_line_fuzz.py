"""Many exchanges over a wire that lies: no word may ever be taken for the answer to another question.

Two units are on the line and every address of each holds its own number, so each word that comes through is
compared. The wire is in memory and brings its own time.
"""

import random
import time
from collections import Counter

import pytest

from devices.errors import DeviceError, LinkDown
from devices.links.modbus_frames import EXCEPTION, READ, WRITE, WRITE_ONE, Request, is_frame, with_crc
from devices.links.modbus_line import RtuLine
from tests.conftest import rounds

EXCHANGES = rounds(20_000)
TIMEOUT = 0.2
UNITS = (1, 2)


def word_at(unit: int, address: int) -> int:
    """What an address holds; no two of a unit are alike."""
    return (address * 40503 + unit * 257) & 0xFFFF


def right_answer(request: bytes) -> bytes:
    if request[1] == READ:
        address, count = int.from_bytes(request[2:4]), int.from_bytes(request[4:6])
        data = b"".join(word_at(request[0], at & 0xFFFF).to_bytes(2) for at in range(address, address + count))
        return with_crc(bytes((request[0], READ, 2 * count)) + data)
    return with_crc(request[:6])


class LyingWire:
    """Bytes come in segments, each with the time at which it arrives; time passes only by waiting for them.

    An instrument answers one request after the other, so what is late is before the answer to the next request.
    """

    name, baudrate, character = "memory", 9600, 0.001

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 1.0
        self.segments: list[tuple[float, bytes]] = []
        self.lies = Counter[str]()
        self.written: list[bytes] = []
        self.echoes = False
        self.is_gone = False

    def open(self) -> None:
        self.is_gone = False

    def close(self) -> None:
        pass

    def is_current(self) -> bool:
        return not self.is_gone

    def write(self, data: bytes) -> None:
        assert is_frame(data)
        self.written.append(data)
        if self.echoes:
            self.arrive(data, 0.0)
        lie = self.random.choice(LIES) if self.random.random() < 0.3 else truth
        self.lies[lie.__name__] += 1
        lie(self, data, right_answer(data))

    def read(self, seconds: float) -> bytes:
        if self.is_gone:
            raise OSError("gone")
        self.segments.sort(key=lambda segment: segment[0])
        if self.segments and self.segments[0][0] <= self.now + seconds:
            moment, data = self.segments.pop(0)
            self.now = max(self.now, moment)
            return data
        self.now += seconds
        return b""

    def pause(self, baudrate: int) -> float:
        """Let 3.5 characters pass in the time of this wire instead of waiting for them."""
        self.now += 3.5 * self.character
        return 0.0

    def arrive(self, data: bytes, delay: float) -> None:
        """Let data come in up to three segments, never before what an earlier request still brings."""
        begin = max([self.now + delay, *(moment for moment, _ in self.segments)])
        cuts = sorted(self.random.sample(range(1, len(data)), min(self.random.randrange(3), len(data) - 1)))
        for number, (a, b) in enumerate(zip([0, *cuts], [*cuts, len(data)], strict=True)):
            self.segments.append((begin + 0.002 * number, data[a:b]))


class PromptWire(LyingWire):
    """Answers at once, in real time, and notes how long after an answer the next request comes."""

    name, baudrate, character = "prompt", 9600, 10 / 9600

    def __init__(self) -> None:
        super().__init__(1)
        self.pauses: list[float] = []
        self.answer = b""
        self.answered = 0.0

    def write(self, data: bytes) -> None:
        if self.answered:
            self.pauses.append(time.monotonic() - self.answered)
        self.answer = right_answer(data)

    def read(self, seconds: float) -> bytes:
        if not self.answer:
            return b""
        answer, self.answer, self.answered = self.answer, b"", time.monotonic()
        return answer


def truth(wire, request, answer):
    wire.arrive(answer, 0.01)


def lost(wire, request, answer):
    pass


def late(wire, request, answer):
    wire.arrive(answer, TIMEOUT + wire.random.random() * 5)


def late_exception(wire, request, answer):
    wire.arrive(exception(request, 2), TIMEOUT + wire.random.random() * 3)


def refused(wire, request, answer):
    wire.arrive(exception(request, wire.random.choice((1, 2, 3, 4, 6, 8))), 0.01)


def truncated(wire, request, answer):
    wire.arrive(answer[: wire.random.randrange(1, len(answer))], 0.01)


def bad_crc(wire, request, answer):
    at = wire.random.randrange(len(answer))
    changed = bytes((answer[at] ^ wire.random.randrange(1, 256),))
    wire.arrive(answer[:at] + changed + answer[at + 1 :], 0.01)


def without_a_byte(wire, request, answer):
    at = wire.random.randrange(len(answer))
    wire.arrive(answer[:at] + answer[at + 1 :], 0.01)


def twice(wire, request, answer):
    wire.arrive(answer + answer, 0.01)


def after_noise(wire, request, answer):
    wire.arrive(wire.random.randbytes(wire.random.randrange(1, 12)) + answer, 0.01)


def only_noise(wire, request, answer):
    wire.arrive(wire.random.randbytes(wire.random.randrange(1, 80)), 0.01)


def with_zeros(wire, request, answer):
    wire.arrive(b"\0" + answer + b"\0", 0.01)


def other_unit(wire, request, answer):
    wire.arrive(with_crc(bytes((request[0] + 2,)) + answer[1:-2]), 0.01)


def other_function(wire, request, answer):
    wire.arrive(with_crc(bytes((request[0], 4)) + answer[2:-2]), 0.01)


def other_length(wire, request, answer):
    wire.arrive(with_crc(answer[:2] + bytes((answer[2] ^ 2,)) + answer[3:-2]), 0.01)


def broadcasts_before(wire, request, answer):
    wire.arrive(with_crc(bytes.fromhex("00 06 00 18 09 C4")) * 3 + answer, 0.01)


LIES = (
    *(lost, late, late_exception, refused, truncated, bad_crc, without_a_byte, twice, after_noise, only_noise),
    *(with_zeros, other_unit, other_function, other_length, broadcasts_before),
)


def exception(request: bytes, code: int) -> bytes:
    return with_crc(bytes((request[0], request[1] | EXCEPTION, code)))


def a_request(chance: random.Random) -> Request:
    unit, address = chance.choice(UNITS), chance.randrange(0xFF00)
    kind = chance.random()
    if kind < 0.1:
        return Request(unit, WRITE_ONE, address, 1, (chance.randrange(0x10000),))
    if kind < 0.2:
        words = tuple(chance.randrange(0x10000) for _ in range(chance.choice((1, 2))))
        return Request(unit, WRITE, address, len(words), words)
    return Request(unit, READ, address, chance.choice((1, 1, 2, 5, 10, 13)))


@pytest.mark.parametrize("echoes", [False, True], ids=["no echo", "echo"])
def test_no_wrong_value_comes_out_of_many_exchanges(echoes, monkeypatch):
    wire = LyingWire(20240607)
    monkeypatch.setattr("minimalmodbus._calculate_minimum_silent_period", wire.pause)
    wire.echoes = echoes
    line = RtuLine(wire, clock=lambda: wire.now)
    line.open()
    chance, right = random.Random(3), 0
    while len(wire.written) < EXCHANGES // 2:
        request = a_request(chance)
        written = len(wire.written)
        try:
            words = line.transact(request, TIMEOUT)
        except DeviceError:
            pass
        else:
            right += 1
            if request.function == READ:
                expected = tuple(
                    word_at(request.unit, at) for at in range(request.address, request.address + request.count)
                )
                assert words == expected, f"{request}, lies {wire.lies}"
            else:
                assert wire.written[-1] == request.frame
        sent = wire.written[written:]
        assert sent.count(request.frame) <= 1, "nothing is repeated"
        assert all(frame[1] == READ for frame in sent if frame != request.frame), "only reads are asked besides"
    assert set(wire.lies) == {lie.__name__ for lie in (*LIES, truth)}
    assert right > EXCHANGES // 10, "the line refuses more than the lies explain"


def test_a_port_that_vanishes_is_closed_and_opens_again():
    wire = LyingWire(1)
    line = RtuLine(wire, clock=lambda: wire.now)
    with pytest.raises(LinkDown, match="not open"):
        line.transact(Request(1, READ, 1), TIMEOUT)
    line.open()
    wire.is_gone = True
    with pytest.raises(LinkDown, match="gone"):
        line.transact(Request(1, READ, 1), TIMEOUT)
    assert not line.is_open
    line.open()
    assert line.generation == 2


def test_the_silence_between_frames_is_kept_and_little_more():
    wire = PromptWire()
    line = RtuLine(wire)
    line.open()
    for _ in range(20):
        line.transact(Request(1, READ, 1), TIMEOUT)
    silence = 3.5 * 11 / wire.baudrate  # minimalmodbus counts 11 bits a character
    assert min(wire.pauses) >= 3.5 * wire.character
    assert sorted(wire.pauses)[len(wire.pauses) // 2] < silence + 0.01


def test_a_line_that_never_becomes_quiet_is_reported():
    wire = LyingWire(1)
    line = RtuLine(wire, clock=lambda: wire.now)
    line.open()
    for n in range(3000):
        wire.segments.append((1.0 + n * 0.01, b"\x55"))
    with pytest.raises(DeviceError, match="quiet"):
        line.transact(Request(1, READ, 1), TIMEOUT)
