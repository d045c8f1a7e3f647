"""Many exchanges over a wire that lies: no value may ever be taken for the answer to another question.

The protocol has no checksum and its replies no mark of the question, so some mistakes cannot be seen by anybody:
a digit or a point that appears, changes or gets lost within a number, and a well-formed line that was not asked for
and that arrives between a question and its answer. Those are left out; everything else that breaks the framing,
the length or the order is in. Every question has its own right answer here, so each value that comes through is
compared.
"""

import random
from collections import Counter

import pytest

from devices.caen.protocol import Dialect, Profile, monitor, parse_reply
from devices.caen.simulator.model import CaenModel
from devices.caen.simulator.server import simulated_supply
from devices.errors import DeviceError, LinkDown
from devices.links.line import LineLink, open_link
from tests.conftest import rounds

A = Dialect(Profile.A)
NOISE = bytes(byte for byte in range(256) if byte not in b"0123456789.-+")


def numbers_of(question: int, count: int) -> tuple[float, ...]:
    """The right answer to a question; no two questions near each other share a number."""
    return tuple((question * 8 + n) % 99991 / 10 for n in range(count))


def right_answer(question: int, count: int) -> bytes:
    return b"#CMD:OK,VAL:" + b"".join(b"%06.1f;" % number for number in numbers_of(question, count)) + b"\r\n"


class LyingWire:
    """A transport in memory; time does not pass, an empty read stands for the whole wait.

    Bytes come in ``segments``. What is ``late`` is on its way when the wait for it is over, and arrives at the
    worst moment: during the next wait if there is one before the next request, otherwise right behind that
    request. Opened again, a TCP connection has forgotten it and a serial line has not.
    """

    def __init__(self, seed: int, *, remembers: bool) -> None:
        self.remembers = remembers
        self.random = random.Random(seed)
        self.segments: list[bytes] = []
        self.late: list[bytes] = []
        self.on_its_way: list[bytes] = []
        self.unasked: list[bytes] = []
        self.lies = Counter[str]()
        self.lost = False

    async def open(self) -> None:
        self.lost = False
        if not self.remembers:
            self.segments, self.late, self.on_its_way, self.unasked = [], [], [], []

    async def close(self) -> None:
        pass

    async def write(self, data: bytes) -> None:
        self.segments += self.on_its_way
        self.on_its_way = []
        fields = dict(field.split(b":") for field in data.strip().lstrip(b"$").split(b","))
        answer = right_answer(int(fields[b"CH"]), int(fields[b"PAR"][1:]))
        lie = self.random.choice(LIES) if self.random.random() < 0.7 else truth
        self.lies[lie.__name__] += 1
        lie(self, answer)

    async def read(self, seconds: float) -> bytes:
        data = self.segments.pop(0) if self.segments else b""
        if not data and self.lost:
            raise ConnectionResetError("reset")
        if not self.segments and not seconds:
            # What was not asked for comes after the look behind an answer and before the next request.
            self.segments, self.unasked = self.unasked, []
        if seconds and not data and self.on_its_way:
            self.segments, self.on_its_way = self.on_its_way, []
            return self.segments.pop(0)
        if seconds and not data:
            self.on_its_way, self.late = self.late, []
        return data

    def cut(self, data: bytes) -> list[bytes]:
        """Cut into segments at random places."""
        places = sorted(self.random.sample(range(1, len(data)), min(self.random.randrange(4), len(data) - 1)))
        return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


def truth(wire: LyingWire, answer: bytes) -> None:
    wire.segments += wire.cut(answer)


def lost(wire: LyingWire, answer: bytes) -> None:
    pass


def late(wire: LyingWire, answer: bytes) -> None:
    wire.late += wire.cut(answer)


def begun(wire: LyingWire, answer: bytes) -> None:
    place = wire.random.randrange(1, len(answer))
    wire.segments.append(answer[:place].rstrip(b"\r\n"))
    wire.late.append(answer[place:])


def broken_off(wire: LyingWire, answer: bytes) -> None:
    wire.segments.append(answer[: wire.random.randrange(1, len(answer) - 1)].rstrip(b"\r\n"))


def reset(wire: LyingWire, answer: bytes) -> None:
    wire.segments.append(answer[: wire.random.randrange(1, len(answer) - 1)].rstrip(b"\r\n"))
    wire.lost = True


def twice(wire: LyingWire, answer: bytes) -> None:
    wire.segments.append(answer + answer)


def repeated_after_it(wire: LyingWire, answer: bytes) -> None:
    wire.segments += [answer, answer]


def after_an_older_one(wire: LyingWire, answer: bytes) -> None:
    wire.segments.append(right_answer(4711, answer.count(b";")) + answer)


def after_the_end_of_an_older_one(wire: LyingWire, answer: bytes) -> None:
    older = right_answer(4711, answer.count(b";"))
    wire.segments += [older[wire.random.randrange(1, len(older)) :], answer]


def late_after_the_end_of_an_older_one(wire: LyingWire, answer: bytes) -> None:
    wire.segments.append(b"34.5;\r\n")
    wire.on_its_way.append(answer)


def before_an_unasked_line(wire: LyingWire, answer: bytes) -> None:
    wire.segments += wire.cut(answer)
    wire.unasked.append(right_answer(4713, answer.count(b";")))


def with_a_line_end_inside(wire: LyingWire, answer: bytes) -> None:
    place = wire.random.randrange(1, len(answer) - 2)
    wire.segments += [answer[:place] + b"\n", answer[place:]]


def with_an_echo(wire: LyingWire, answer: bytes) -> None:
    wire.segments += wire.cut(b"$CMD:MON,CH:4711,PAR:N1\r\n" + answer)


def after_noise(wire: LyingWire, answer: bytes) -> None:
    noise = bytes(wire.random.choice(NOISE) for _ in range(wire.random.randrange(1, 65)))
    wire.segments += wire.cut(noise + answer)


def only_noise(wire: LyingWire, answer: bytes) -> None:
    wire.segments += wire.cut(wire.random.randbytes(64))


def with_a_byte_of_noise(wire: LyingWire, answer: bytes) -> None:
    place = wire.random.randrange(len(answer))
    wire.segments += wire.cut(answer[:place] + bytes((wire.random.choice(NOISE),)) + answer[place:])


def with_a_changed_byte(wire: LyingWire, answer: bytes) -> None:
    places = [n for n, byte in enumerate(answer) if byte not in b"0123456789."]
    place = wire.random.choice(places)
    wire.segments += wire.cut(answer[:place] + bytes((wire.random.choice(NOISE),)) + answer[place + 1 :])


def without_a_byte(wire: LyingWire, answer: bytes) -> None:
    places = [n for n, byte in enumerate(answer) if byte not in b"0123456789."]
    place = wire.random.choice(places)
    wire.segments += wire.cut(answer[:place] + answer[place + 1 :])


def without_line_end(wire: LyingWire, answer: bytes) -> None:
    wire.segments.append(answer.rstrip(b"\r\n"))
    wire.late.append(right_answer(4712, 1))


LIES = (
    *(truth, lost, late, begun, broken_off, reset, twice, repeated_after_it),
    *(
        after_an_older_one,
        after_the_end_of_an_older_one,
        late_after_the_end_of_an_older_one,
        with_an_echo,
        after_noise,
        only_noise,
    ),
    *(
        before_an_unasked_line,
        with_a_line_end_inside,
        with_a_byte_of_noise,
        with_a_changed_byte,
        without_a_byte,
        without_line_end,
    ),
)


async def ask(link: LineLink, question: int, count: int) -> tuple[float, ...] | None:
    try:
        line = await link.exchange(monitor(A, f"N{count}", question))
    except LinkDown:
        await link.connect()
        return None
    except DeviceError:
        return None
    try:
        reply = parse_reply(line, A)
        return reply.numbers(count) if count > 1 else (reply.number(),)
    except DeviceError:
        link.mark_unsynchronised()
        return None


@pytest.mark.parametrize("remembers", [False, True], ids=["tcp", "serial"])
async def test_no_wrong_value_comes_out_of_many_exchanges(remembers, monkeypatch):
    monkeypatch.setattr("devices.links.line.PAUSE", 0.0)  # in memory everything is there at once
    wire = LyingWire(20240607, remembers=remembers)
    link = LineLink(wire, "memory", 1.0)
    await link.connect()
    right, exchanges = 0, rounds(5_000)
    for question in range(exchanges):
        count = 4 if question % 3 else 1
        values = await ask(link, question, count)
        assert values in (None, numbers_of(question, count)), f"question {question}, lies {wire.lies}"
        right += values is not None
    assert set(wire.lies) == {lie.__name__ for lie in LIES}
    harmless = wire.lies["truth"] + wire.lies["with_an_echo"] + wire.lies["before_an_unasked_line"]
    assert right > 0.95 * harmless > 0.3 * exchanges, "the link refuses more than the lies explain"
    assert link.stats.errors > 0.2 * exchanges


async def test_no_wrong_value_comes_out_of_a_socket():
    chance = random.Random(7)

    def mangle(answer: bytes) -> bytes:
        faults = (answer[:-4], chance.randbytes(30), answer + b"#CMD:", b"\xff\xfb\x01" + answer)
        # Twice, but not byte by byte: such a slow repetition is the line that was not asked for, see above.
        return chance.choice((answer, answer, answer, answer, *faults, answer if supply.faults.split else answer * 2))

    model = CaenModel()
    async with simulated_supply(model) as supply:
        for number, channel in enumerate(model.channels):
            channel.vset = 100.0 * number + 50.0
        link = open_link(supply.address, 0.02)
        await link.connect()
        right = 0
        for question in range(400):
            supply.faults.mangle = mangle
            supply.faults.split = chance.random() < 0.3
            try:
                line = await link.exchange(monitor(A, "VSET", question % 4))
                value = parse_reply(line, A).number()
            except LinkDown:
                await link.connect()
            except DeviceError:
                link.mark_unsynchronised()
            else:
                right += 1
                assert value == 100.0 * (question % 4) + 50.0
        await link.close()
    assert right > 150
