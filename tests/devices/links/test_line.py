"""The link under the CAEN protocol over real sockets, with everything that goes wrong."""

import asyncio
import socket
from contextlib import asynccontextmanager, suppress

import pytest

from devices.caen.protocol import Dialect, Profile, monitor, parse_reply
from devices.errors import Garbled, LinkDown, ReplyTimeout
from devices.links.line import LineLink, open_link
from tests.devices.links.line_bench import ASK, SET, TIMEOUT, Held, talking_to
from tests.fair_time import until


def scripted(*answers):
    """Answer the first request with the first bytes and so on; afterwards with a value that is the number."""

    async def script(count, writer):
        writer.write(answers[count - 1] if count <= len(answers) else f"#CMD:OK,VAL:{count}.0;\r\n".encode())

    return script


async def test_one_question_has_one_answer():
    async with talking_to(scripted(b"#CMD:OK,VAL:12.5;\r\n")) as (link, peer):
        assert await link.exchange(ASK) == "#CMD:OK,VAL:12.5;"
        assert peer.requests == [ASK]
        assert 0 < link.stats.rtt < TIMEOUT
        assert link.stats.errors == 0


async def test_an_answer_in_single_bytes_is_one_answer():
    async def script(count, writer):
        for byte in b"#CMD:OK,VAL:12.5;\r\n":
            writer.write(bytes((byte,)))
            await writer.drain()
            await asyncio.sleep(0)

    async with talking_to(script) as (link, _):
        assert await link.exchange(ASK) == "#CMD:OK,VAL:12.5;"
        assert await link.exchange(ASK) == "#CMD:OK,VAL:12.5;"
        assert link.stats.errors == 0


async def test_P20_half_an_answer_is_a_timeout_and_not_its_first_digits():
    async with talking_to(scripted(b"#CMD:OK,VAL:12")) as (link, _):
        with pytest.raises(ReplyTimeout, match=r"\$CMD:MON,CH:0,PAR:VMON within 0.3 s, only '#CMD:OK,VAL:12'"):
            await link.exchange(ASK)
        assert link.stats.errors == 1
        assert "within 0.3 s" in link.stats.last_error


async def test_P21_the_late_rest_of_an_answer_is_not_the_next_answer():
    async def script(count, writer):
        if count == 1:
            writer.write(b"#CMD:OK,VAL:12")
            await asyncio.sleep(2 * TIMEOUT)
            writer.write(b"34.5;\r\n")
        else:
            writer.write(b"#CMD:OK,VAL:7.0;\r\n")

    async with talking_to(script) as (link, _):
        with pytest.raises(ReplyTimeout):
            await link.exchange(ASK)
        for _ in range(3):
            assert await link.exchange(ASK) == "#CMD:OK,VAL:7.0;"


async def test_a_late_answer_is_not_the_next_answer():
    async def script(count, writer):
        await asyncio.sleep(1.5 * TIMEOUT if count == 1 else 0)
        writer.write(f"#CMD:OK,VAL:{count}.0;\r\n".encode())

    async with talking_to(script) as (link, _):
        with pytest.raises(ReplyTimeout):
            await link.exchange(ASK)
        assert await link.exchange(ASK) == "#CMD:OK,VAL:2.0;"
        assert await link.exchange(ASK) == "#CMD:OK,VAL:3.0;"


async def test_P22_two_answers_to_one_question_are_none():
    async with talking_to(scripted(b"#CMD:OK,VAL:1.0;\r\n#CMD:OK,VAL:2.0;\r\n")) as (link, _):
        with pytest.raises(Garbled, match="more than one line"):
            await link.exchange(ASK)
        assert await link.exchange(ASK) == "#CMD:OK,VAL:2.0;"


async def test_a_second_line_right_behind_an_answer_spoils_it():
    async def script(count, writer):
        writer.write(b"#CMD:OK,VAL:1.0;\r\n" if count > 1 else b"#CMD:OK,VAL:1")
        await writer.drain()
        if count == 1:
            writer.write(b"\n2.0;\r\n")  # a line end in the middle of a number

    async with talking_to(script) as (link, _):
        with pytest.raises(Garbled, match="more than one line"):
            await link.exchange(ASK)
        assert await link.exchange(ASK) == "#CMD:OK,VAL:1.0;"


async def test_P23_an_echo_is_ignored():
    async with talking_to(scripted(ASK + b"#CMD:OK,VAL:1.0;\r\n")) as (link, _):
        assert await link.exchange(ASK) == "#CMD:OK,VAL:1.0;"
        assert link.stats.errors == 0


async def test_P24_telnet_negotiation_is_ignored():
    async with talking_to(scripted(b"\xff\xfb\x01\xff\xfb\x03#CMD:OK,VAL:1.0;\r\n")) as (link, _):
        assert await link.exchange(ASK) == "#CMD:OK,VAL:1.0;"
        assert await link.exchange(ASK) == "#CMD:OK,VAL:2.0;"
        assert link.stats.errors == 0


@pytest.mark.parametrize("noise", [bytes(range(128, 192)), b"\x00" * 64, b"\x1b[2J\r\n", b"x" * 2000, b"\xff" * 600])
async def test_P26_noise_is_rejected_and_the_next_exchange_works(noise):
    async with talking_to(scripted(noise)) as (link, _):
        with pytest.raises(Garbled) as error:
            await link.exchange(ASK)
        assert str(error.value).isascii()
        assert await link.exchange(ASK) == "#CMD:OK,VAL:2.0;"


@pytest.mark.parametrize("seen", [True, False], ids=["seen", "still in the socket"])
async def test_what_arrives_unasked_is_dropped_and_counted(seen):
    async with talking_to(scripted(b"#CMD:OK,VAL:1.0;\r\n")) as (link, peer):
        await link.exchange(ASK)
        peer.writers[0].write(b"#CMD:OK,VAL:666.0;\r\n")
        if seen:
            await until(lambda: link._transport._inbox.data)
        assert await link.exchange(ASK) == "#CMD:OK,VAL:2.0;"
        assert link.stats.errors == 1
        assert "unasked" in link.stats.last_error


@pytest.mark.parametrize("seen", [True, False], ids=["seen", "still in the socket"])
async def test_half_a_line_that_arrives_unasked_has_the_connection_replaced(seen):
    async with talking_to(scripted(b"#CMD:OK,VAL:1.0;\r\n")) as (link, peer):
        await link.exchange(ASK)
        peer.writers[0].write(b"#CMD:OK,VAL:6")
        if seen:
            await until(lambda: link._transport._inbox.data)
        assert await link.exchange(ASK) == "#CMD:OK,VAL:2.0;"
        assert peer.connections == 2
        assert link.stats.reconnects == 1


async def test_an_endless_stream_ends_in_an_error_and_not_in_memory():
    async def script(count, writer):
        with suppress(ConnectionError):
            while count == 1 and not writer.is_closing():
                writer.write(b"#" * 1000)
                await writer.drain()
                await asyncio.sleep(0)
        writer.write(b"#CMD:OK,VAL:2.0;\r\n")

    async with talking_to(script) as (link, _):
        with pytest.raises(Garbled):
            await link.exchange(ASK)
        assert len(link._transport._inbox.data) <= 2048
        assert await link.exchange(ASK) == "#CMD:OK,VAL:2.0;"


async def test_a_closed_connection_is_down_until_it_is_connected():
    async def script(count, writer):
        if count == 1:
            writer.close()
        else:
            writer.write(b"#CMD:OK,VAL:2.0;\r\n")

    async with talking_to(script) as (link, peer):
        with pytest.raises(LinkDown, match="closed by the other end"):
            await link.exchange(ASK)
        with pytest.raises(LinkDown, match="not connected"):
            await link.exchange(ASK)
        assert peer.connections == 1
        await link.connect()
        assert await link.exchange(ASK) == "#CMD:OK,VAL:2.0;"


@pytest.mark.parametrize("seen", [True, False], ids=["seen", "still in the socket"])
async def test_a_connection_closed_while_idle_sends_nothing_into_the_void(seen):
    async with talking_to(scripted(b"#CMD:OK,VAL:1.0;\r\n")) as (link, peer):
        await link.exchange(ASK)
        peer.writers[0].get_extra_info("socket").shutdown(socket.SHUT_WR)
        if seen:
            await until(link._transport._inbox.lost.is_set)
        with pytest.raises(LinkDown, match="connection lost: closed"):
            await link.exchange(ASK)
        assert not link.connected
        assert link.stats.errors == 1
        assert len(peer.requests) == 1


async def test_a_cancelled_exchange_leaves_no_answer_for_the_next():
    async def script(count, writer):
        await asyncio.sleep(0.03)
        writer.write(f"#CMD:OK,VAL:{count}.0;\r\n".encode())

    async with talking_to(script) as (link, peer):
        first = asyncio.create_task(link.exchange(ASK))
        await until(lambda: peer.requests)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await link.exchange(ASK) == "#CMD:OK,VAL:2.0;"


async def test_callers_queue_and_each_has_its_own_answer():
    async def script(count, writer):
        assert len(in_flight) == 1
        await asyncio.sleep(0.001)
        writer.write(b"#CMD:OK,VAL:" + peer_.requests[-1][8:].split(b",")[1][3:] + b".0;\r\n")
        in_flight.clear()

    in_flight = []
    async with talking_to(script) as (link, peer_):
        write = link._transport.write

        async def counting(data):
            in_flight.append(data)
            await write(data)

        link._transport.write = counting
        dialect = Dialect(Profile.A)
        answers = await asyncio.gather(*(link.exchange(monitor(dialect, "VMON", n)) for n in range(30)))
    assert [parse_reply(answer, dialect).number() for answer in answers] == list(range(30))


async def test_mark_unsynchronised_makes_the_next_exchange_start_afresh():
    async with talking_to(scripted()) as (link, peer):
        await link.exchange(ASK)
        link.mark_unsynchronised()
        assert await link.exchange(ASK) == "#CMD:OK,VAL:2.0;"
        assert peer.connections == 2


async def test_closing_ends_an_exchange_under_way_and_may_be_repeated():
    async def script(count, writer):
        pass

    async with talking_to(script, timeout=10.0) as (link, peer):
        exchange = asyncio.create_task(link.exchange(ASK))
        await until(lambda: peer.requests)
        await link.close()
        await link.close()
        with pytest.raises(LinkDown):
            await asyncio.wait_for(exchange, 1.0)
        assert not link.connected


@asynccontextmanager
async def watched_ends():
    """Answer nothing; yield a link and the ways in which its connections ended, ``reset`` or ``end``."""
    ends = []

    async def serve(reader, writer):
        try:
            while await reader.read(100):
                pass
            ends.append("end")
        except ConnectionResetError:
            ends.append("reset")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    link = open_link(f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}", 0.05)
    await link.connect()
    try:
        yield link, ends
    finally:
        await link.close()
        server.close()


@pytest.mark.parametrize(("changes", "end"), [(True, "reset"), (False, "end")])
async def test_a_change_without_an_answer_is_taken_back_and_not_delivered_later(changes, end):
    """After an orderly end the kernel goes on delivering: into a unit whose cable is plugged in minutes later."""
    async with watched_ends() as (link, ends):
        with pytest.raises(ReplyTimeout):
            await link.exchange(SET, changes=changes)
        await link.close()
        await until(lambda: ends)
        assert ends == [end]


async def test_a_change_without_any_answer_is_taken_back_when_the_next_exchange_fails():
    async with watched_ends() as (link, ends):
        await link.tell(SET)
        with pytest.raises(ReplyTimeout):
            await link.exchange(ASK)
        await link.close()
        await until(lambda: ends)
        assert ends == ["reset"]


async def test_a_change_under_way_when_the_link_is_closed_is_taken_back():
    async with watched_ends() as (link, ends):
        link.timeout = 10.0
        exchange = asyncio.create_task(link.exchange(SET, changes=True))
        await until(lambda: link._in_doubt)
        await link.close()
        with pytest.raises(LinkDown):
            await asyncio.wait_for(exchange, 1.0)
        await until(lambda: ends)
        assert ends == ["reset"]


async def test_a_link_closed_while_it_gets_in_step_is_not_opened_again():
    transport = Held()
    link = LineLink(transport, "tcp://held:23", TIMEOUT)
    transport.let.set()
    await link.connect()
    transport.let.clear()
    link.mark_unsynchronised()
    exchange = asyncio.create_task(link.exchange(SET, changes=True))
    await until(lambda: transport.opening)
    await link.close()
    transport.let.set()
    with pytest.raises(LinkDown, match="closed"):
        await exchange
    assert not transport.is_open
    assert not link.connected
    assert transport.sent == []
    await link.connect()
    assert link.connected
    await link.close()


async def test_a_link_closed_while_it_connects_is_not_opened():
    transport = Held()
    link = LineLink(transport, "tcp://held:23", TIMEOUT)
    connecting = asyncio.create_task(link.connect())
    await until(lambda: transport.opening)
    await link.close()
    transport.let.set()
    with pytest.raises(LinkDown, match="closed"):
        await connecting
    assert not transport.is_open
    assert not link.connected


async def test_an_answered_change_ends_in_order():
    ends = []

    async def serve(reader, writer):
        await reader.readline()
        writer.write(b"#CMD:OK\r\n")
        ends.append(await reader.read())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    link = open_link(f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}", TIMEOUT)
    await link.connect()
    assert await link.exchange(SET, changes=True) == "#CMD:OK"
    await link.close()
    await until(lambda: ends)
    assert ends == [b""]
    server.close()


async def test_a_refused_connection_is_down():
    async with talking_to(scripted()) as (link, _):
        address = link.address
    link = open_link(address, TIMEOUT)
    with pytest.raises(LinkDown, match=r"127\.0\.0\.1.*cannot connect"):
        await link.connect()
    with pytest.raises(LinkDown):
        await link.exchange(ASK)


async def test_a_host_that_does_not_answer_is_down_after_two_seconds(monkeypatch):
    async def never(*_args):
        await asyncio.Event().wait()

    link = open_link("tcp://127.0.0.1:1", TIMEOUT)
    monkeypatch.setattr("devices.links.line.CONNECT_TIMEOUT", 0.05)
    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", never)
    with pytest.raises(LinkDown, match=r"no connection within 0\.05 s"):
        await link.connect()
