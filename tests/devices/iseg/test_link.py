"""Requests to one module over a bus that the test plays: matched by item and channel, windowed, tried again."""

from __future__ import annotations

import asyncio
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.clock import DriverClock
from devices.errors import LinkDown, ReplyTimeout
from devices.iseg import link as iseg_link
from devices.iseg.edcp.items import BY_NAME
from devices.iseg.edcp.protocol import (
    Data,
    Request,
    Unexplained,
    answer,
    decode,
    read,
    read_channels,
)
from devices.iseg.link import ModuleLink
from devices.iseg.question import Answer, Question
from devices.iseg.unit import IsegUnit, Wanted
from devices.links.can_frame import Frame
from tests.fair_time import until

VOLTS, STATUS, MODULE = BY_NAME["VoltageMeasure"], BY_NAME["ChannelStatus"], BY_NAME["ModuleStatus"]


class PlayedBus:
    """Looks like a CanBus; ``play`` turns a frame of the host into what comes back, with delays in seconds."""

    def __init__(self):
        self.sent: list[Frame] = []
        self.outstanding = 0
        self.play = lambda frame: []
        self.listener: ModuleLink | None = None

    def send(self, frame, within, unique):
        self.sent.append(frame)
        loop = asyncio.get_running_loop()
        for delay, reply in self.play(frame):
            loop.call_later(delay, self.deliver, reply)

    def deliver(self, frame):
        assert self.listener is not None
        self.listener.received(frame, time.time())

    def discard(self):
        pass

    async def leave(self, listener):
        self.listener = None


@pytest.fixture
async def link(monkeypatch):
    bus = PlayedBus()

    async def join(name, options, listener, clock):
        bus.listener = listener
        return bus

    monkeypatch.setattr(iseg_link, "join", join)
    made = ModuleLink("main", {}, 5, 0.25, DriverClock())
    await made.connect()
    bus.sent.clear()
    yield made
    await made.close()


def single(channel):
    return Question(read(5, VOLTS, channel), VOLTS.id, frozenset((channel,)))


def reply_to(frame):
    """Answer as a module with 16 channels does; the value of a channel is its number."""
    message = decode(frame)
    if not isinstance(message, Request):
        return []
    item = message.item
    if message.members is None:
        return [answer(5, item, 1 if message.index is None else message.index, message.index)]
    channels = [n for n in range(16) if message.members in (0,) or message.members >> n & 1]
    return [answer(5, item, n, n, many=True) for n in channels]


async def test_GIVEN_answers_in_any_order_WHEN_they_come_THEN_each_finds_its_question(link):
    order = random.Random(1)
    link.bus.play = lambda frame: [(order.random() * 0.02, reply) for reply in reply_to(frame)]
    questions = [single(n) for n in range(16)]
    await link.ask(questions)
    assert [question.answers[n].value for n, question in enumerate(questions)] == list(range(16))
    assert len(link.bus.sent) == 16
    assert link.stats.errors == 0
    assert link.bus.outstanding == 0


async def test_GIVEN_many_questions_WHEN_asked_THEN_no_more_than_the_window_are_under_way(link):
    most, open_now = 0, 0

    def play(frame):
        nonlocal most, open_now
        open_now += 1
        most = max(most, open_now)
        return [(0.005, reply) for reply in reply_to(frame)]

    link.bus.play = play
    original = link._answered

    def answered(data, stamp):
        nonlocal open_now
        open_now -= 1
        original(data, stamp)

    link._answered = answered
    await link.ask([single(n) for n in range(16)])
    assert most == iseg_link.WINDOW


async def test_GIVEN_requests_for_many_channels_WHEN_asked_THEN_the_module_owes_two_at_most(link):
    link.bus.play = lambda frame: []
    every = frozenset(range(16))
    task = asyncio.create_task(
        link.ask(
            [Question(read_channels(5, item), item.many_id, every) for item in (VOLTS, STATUS, BY_NAME["VoltageSet"])]
        )
    )
    await asyncio.sleep(0.01)
    assert len(link.bus.sent) == 2
    assert link.bus.outstanding == 32
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert link.bus.outstanding == 0
    link.bus.play = lambda frame: [(0, reply) for reply in reply_to(frame)]
    await link.ask([single(3)])  # what was given up is not in the way


async def test_GIVEN_a_lost_answer_WHEN_nothing_comes_THEN_it_is_asked_again(link):
    seen: set[bytes] = set()

    def play(frame):
        if frame.data in seen:
            return [(0, reply) for reply in reply_to(frame)]
        seen.add(frame.data)
        return []

    link.bus.play = play
    question = single(3)
    await link.ask([question])
    assert question.answers[3].value == 3
    assert len(link.bus.sent) == 2
    assert link.stats.errors == 1


async def test_GIVEN_a_lost_answer_WHEN_a_later_question_is_answered_THEN_it_is_asked_again_soon(link):
    link._patience = 20.0
    seen: set[bytes] = set()

    def play(frame):
        if frame.data[2] == 3 and frame.data not in seen:
            seen.add(frame.data)
            return []
        return [(0, reply) for reply in reply_to(frame)]

    link.bus.play = play
    questions = [single(n) for n in range(16)]
    begun = time.monotonic()
    await link.ask(questions)
    assert time.monotonic() - begun < link._patience
    assert all(question.done for question in questions)


async def test_GIVEN_a_silent_module_WHEN_asked_THEN_it_is_a_timeout_after_three_tries(link):
    with pytest.raises(ReplyTimeout, match=r"asked 3 times for 0x4102"):
        await link.ask([single(3), single(4)])
    assert link.bus.outstanding == 0


async def test_GIVEN_an_unknown_item_WHEN_the_module_answers_others_THEN_it_is_no_timeout(link):
    link.bus.play = lambda frame: [(0, reply) for reply in reply_to(frame) if decode(reply).item is not VOLTS]
    question = single(3)
    await link.ask([question])
    assert question.answers == {}
    assert question.missing == {3}


async def test_GIVEN_some_answers_of_many_WHEN_the_rest_is_lost_THEN_the_question_says_which(link):
    link.bus.play = lambda frame: [(0, reply) for reply in reply_to(frame) if reply.data[2] not in (4, 9)]
    question = Question(read_channels(5, VOLTS), VOLTS.many_id, frozenset(range(16)))
    await link.ask([question])
    assert question.missing == {4, 9}
    assert len(link.bus.sent) == 1


async def test_GIVEN_lost_answers_WHEN_a_unit_reads_THEN_the_gaps_are_filled_one_by_one(link):
    unit = IsegUnit(link, 16)
    unit.channels, unit.many = 16, unit.many.ALL
    link.bus.play = lambda frame: [
        (0, reply) for reply in reply_to(frame) if not (len(frame.data) == 5 and reply.data[2] in (4, 9))
    ]
    await unit.read(Wanted(channels={VOLTS: unit.every}))
    assert [unit.value("VoltageMeasure", n) for n in range(16)] == list(range(16))
    assert [frame.data.hex() for frame in link.bus.sent] == ["6102000000", "410204", "410209"]


async def test_GIVEN_values_that_are_no_numbers_WHEN_they_come_THEN_they_are_counted_and_left_out(link):
    nan = Frame(0x228, bytes.fromhex("4102037fc00000"))
    link.bus.play = lambda frame: [(0, nan)] if frame.data[:2] == b"\x41\x02" else []
    question = single(3)
    await link.ask([question])
    assert question.answers == {}
    assert question.bad == {3}
    assert link.stats.errors == 1


async def test_GIVEN_nonsense_about_another_item_WHEN_it_comes_first_THEN_the_question_waits_for_its_own_answer(link):
    nan = Frame(0x228, bytes.fromhex("4100037fc00000"))
    link.bus.play = lambda frame: [(0, nan), *((0, reply) for reply in reply_to(frame))]
    question = single(3)
    await link.ask([question])
    assert (question.answers[3].value, question.bad) == (3, set())


async def test_GIVEN_duplicates_and_unasked_values_WHEN_they_come_THEN_they_disturb_nothing(link):
    stray = answer(5, VOLTS, 77.0, 3)
    link.bus.deliver(stray)
    link.bus.play = lambda frame: [(0, reply) for reply in reply_to(frame) for _ in range(3)]
    first, second = single(3), single(3)
    await asyncio.gather(link.ask([first]), link.ask([second]))
    assert first.answers[3].value == second.answers[3].value == 3


async def test_GIVEN_the_bus_is_lost_WHEN_questions_are_open_THEN_they_fail_at_once_and_it_is_reported(link):
    reported: list[int] = []
    link.on_loss = lambda: reported.append(1)
    task = asyncio.create_task(link.ask([single(n) for n in range(16)]))
    await asyncio.sleep(0)
    link.bus_lost(LinkDown("adapter gone"))
    with pytest.raises(LinkDown, match="adapter gone"):
        await task
    with pytest.raises(LinkDown, match="adapter gone"):
        await link.ask([single(1)])
    with pytest.raises(LinkDown, match="adapter gone"):
        link.send(read(5, MODULE))
    assert reported == [1]


async def test_GIVEN_lost_frames_WHEN_it_goes_on_THEN_fewer_are_under_way_and_then_more_again(link):
    link.bus.play = lambda frame: []
    with pytest.raises(ReplyTimeout):
        await link.ask([single(1)])
    assert link._window == 1
    link.bus.play = lambda frame: [(0, reply) for reply in reply_to(frame)]
    for _ in range(7):
        await link.ask([single(n) for n in range(16)])
    assert link._window == iseg_link.WINDOW


@given(st.lists(st.tuples(st.integers(0, 0x7FF), st.binary(max_size=8)), max_size=20))
def test_any_frames_leave_the_link_standing(frames):
    link = ModuleLink("main", {}, 5, 0.25, DriverClock())
    for identifier, data in frames:
        link.received(Frame(identifier, data), 0.0)
    unexplained = [isinstance(decode(Frame(identifier, data)), Unexplained) for identifier, data in frames]
    assert link.stats.errors == sum(unexplained)


def test_an_answer_is_what_a_question_waits_for():
    data = decode(answer(5, VOLTS, 3.0, 3))
    assert isinstance(data, Data)
    question = single(3)
    assert not question.done
    question.answers[3] = Answer(data.value, 0.0)
    assert question.done


async def test_GIVEN_a_batch_under_way_WHEN_an_item_of_it_is_read_anew_THEN_the_newer_value_stays(link):
    unit, answers, slow = IsegUnit(link, 16), iter((1.0, 2.0)), BY_NAME["BoardTemperature"]
    unit.channels = 16
    held: list[Frame] = []

    def play(frame):
        item = decode(frame).item
        if item is slow:
            held.append(answer(5, slow, 31.0))
            return []
        return [(0, answer(5, item, next(answers), 3))]

    link.bus.play = play
    link._patience = 5.0
    batch = asyncio.create_task(unit.read(Wanted((slow,), {BY_NAME["VoltageSet"]: frozenset((3,))})))
    await until(lambda: bool(held and link.stats.rtt))  # the set point has come, the batch goes on
    assert await unit.read_back(BY_NAME["VoltageSet"], 3) == 2.0
    link.bus.deliver(held[0])
    await batch
    assert unit.value("VoltageSet", 3) == 2.0
    assert unit.value("BoardTemperature") == 31.0


async def test_GIVEN_questions_under_way_WHEN_the_link_is_closed_THEN_the_bus_is_owed_nothing_any_more(link):
    bus = link.bus
    task = asyncio.create_task(link.ask([single(n) for n in range(16)]))
    await asyncio.sleep(0)
    assert bus.outstanding > 0
    await link.close()
    with pytest.raises(LinkDown, match="closed"):
        await task
    assert bus.outstanding == 0
