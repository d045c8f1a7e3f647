"""The link under the CAEN protocol over a serial line, which is a pseudo terminal here."""

import asyncio
import os
import pty
import tty
from contextlib import suppress

import pytest
import serial

from devices.errors import DeviceError, Garbled, LinkDown, ReplyTimeout
from devices.links.line import open_link
from devices.links.transport import SerialAddress, SerialTransport
from tests.devices.links.line_bench import ASK, SET, TIMEOUT
from tests.fair_time import until


class Line:
    """The other end of a serial line: a pseudo terminal that sends what a test wants."""

    def __init__(self):
        self.ours, self.theirs = pty.openpty()
        tty.setraw(self.theirs)
        self.path = os.ttyname(self.theirs)

    async def request(self):
        data = b""
        os.set_blocking(self.ours, False)
        while not data.endswith(b"\r\n"):
            await asyncio.sleep(0.002)
            with suppress(BlockingIOError):
                data += os.read(self.ours, 100)
        return data

    def say(self, data):
        os.write(self.ours, data)

    def unplug(self):
        for end in (self.ours, self.theirs):
            with suppress(OSError):
                os.close(end)


@pytest.fixture
async def line():
    line = Line()
    yield line
    line.unplug()


@pytest.fixture
async def serial_link(line):
    link = open_link(f"serial://{line.path}?baudrate=9600", TIMEOUT)
    await link.connect()
    yield link
    await link.close()


async def exchange(link, line, answer, request=ASK):
    asked = asyncio.create_task(link.exchange(request))
    try:
        assert await asyncio.wait_for(line.request(), 2.0) == request
        line.say(answer)
        return await asked
    finally:
        asked.cancel()


async def test_a_serial_line_carries_the_same_exchange(serial_link, line):
    assert await exchange(serial_link, line, b"#CMD:OK,VAL:1.0;\r\n") == "#CMD:OK,VAL:1.0;"
    assert await exchange(serial_link, line, b"#CMD:OK,VAL:2.0;\r\n") == "#CMD:OK,VAL:2.0;"


async def test_what_an_earlier_process_asked_for_is_not_our_answer(serial_link, line):
    line.say(b"#CMD:OK,VAL:666.0;\r\n")
    assert await exchange(serial_link, line, b"#CMD:OK,VAL:1.0;\r\n") == "#CMD:OK,VAL:1.0;"


async def test_after_a_timeout_the_serial_line_is_read_until_it_is_silent(serial_link, line):
    with pytest.raises(ReplyTimeout):
        await serial_link.exchange(ASK)
    assert await line.request() == ASK
    next_one = asyncio.create_task(serial_link.exchange(ASK))
    for _ in range(3):  # late, and still coming
        await asyncio.sleep(TIMEOUT / 3)
        line.say(b"#CMD:OK,VAL:666.0;\r\n")
    assert await line.request() == ASK
    line.say(b"#CMD:OK,VAL:2.0;\r\n")
    assert await next_one == "#CMD:OK,VAL:2.0;"


async def test_a_change_that_a_serial_line_has_not_sent_yet_is_taken_back(serial_link, line, monkeypatch):
    dropped = []

    def drop(port):
        dropped.append(port)

    monkeypatch.setattr(serial.Serial, "reset_output_buffer", drop)
    with pytest.raises(ReplyTimeout):
        await serial_link.exchange(ASK, timeout=0.02)
    assert not dropped
    with pytest.raises(ReplyTimeout):
        await serial_link.exchange(SET, timeout=0.02, changes=True)
    await until(lambda: dropped)


async def test_a_cancelled_exchange_leaves_no_answer_on_the_serial_line(serial_link, line):
    first = asyncio.create_task(serial_link.exchange(ASK))
    assert await line.request() == ASK
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    line.say(b"#CMD:OK,VAL:666.0;\r\n")
    assert await exchange(serial_link, line, b"#CMD:OK,VAL:2.0;\r\n") == "#CMD:OK,VAL:2.0;"


async def test_a_serial_line_that_never_falls_silent_is_garbled(serial_link, line):
    async def babble():
        while True:
            line.say(b"#CMD:OK,VAL:666.0;\r\n")
            await asyncio.sleep(TIMEOUT / 5)

    noise = asyncio.create_task(babble())
    try:
        with pytest.raises(Garbled, match="silent"):
            await serial_link.exchange(ASK)
    finally:
        noise.cancel()


async def test_an_unplugged_adapter_is_down(serial_link, line):
    await exchange(serial_link, line, b"#CMD:OK,VAL:1.0;\r\n")
    line.unplug()
    with pytest.raises(LinkDown):
        await serial_link.exchange(ASK)
    with pytest.raises(LinkDown, match="cannot connect"):
        await serial_link.connect()


async def test_a_serial_port_in_use_is_down(serial_link, line):
    other = open_link(serial_link.address, TIMEOUT)
    with pytest.raises(LinkDown, match="cannot connect"):
        await other.connect()
    assert await exchange(serial_link, line, b"#CMD:OK,VAL:1.0;\r\n") == "#CMD:OK,VAL:1.0;"


async def test_a_silent_serial_line_does_not_hold_up_the_event_loop(serial_link, line):
    silent = asyncio.create_task(serial_link.exchange(ASK, timeout=0.5))
    turns = 0
    while not silent.done():
        turns += 1
        await asyncio.sleep(0.01)
    assert isinstance(silent.exception(), DeviceError)
    assert turns > 5


async def test_a_serial_line_that_cannot_be_closed_without_an_error_is_closed_all_the_same():
    ends = pty.openpty()
    transport = SerialTransport(SerialAddress(os.ttyname(ends[1])))
    await transport.open()
    os.close(transport._port.fd)  # as when the kernel has lost something that was still to be sent
    await transport.close()
    with pytest.raises(ConnectionResetError):
        await transport.read(0)
    for end in ends:
        os.close(end)
