"""One question, one line back: the link under the CAEN text protocol, over TCP or a serial line.

The replies of this protocol carry no mark of the question they belong to, so the link has to make sure that a
reply is never taken for the answer to another question:

* one request is in flight at a time;
* an answer counts only when nothing follows it for a moment, and clients of these units keep such a pause
  anyway; whatever arrives unasked later is dropped before the next request is sent;
* an exchange that did not end with exactly one line leaves the link *in doubt*, also when the waiting task
  was cancelled, and so does ``mark_unsynchronised()``. Before the next request a TCP connection in doubt is closed and
  opened again; a serial line, which forgets nothing when it is reopened, is read until it has been silent for
  one whole timeout.

A request that changes the device and has no answer is taken back: what the kernel has not delivered by then it must not
deliver minutes later, when the cable is plugged in again and everybody believes that the change has failed.

A connection that the other end closed is not reopened here: that raises LinkDown until the driver calls
``connect()``, who then also knows that the device may be another one.
"""

from __future__ import annotations

import asyncio
import re
from urllib.parse import parse_qsl, urlsplit

import serial

from devices import permit
from devices.errors import DeviceError, Garbled, LinkDown, ReplyTimeout, Withdrawn, reason_of
from devices.links.transport import SerialAddress, SerialTransport, TcpAddress, TcpTransport, Transport
from devices.model import LinkStats
from devices.permit import Precedence

CONNECT_TIMEOUT = 2.0  # seconds
PAUSE = 0.005  # seconds after an answer in which nothing may follow, and no request is sent
LONGEST_LINE = 512  # bytes
PATIENCE = 4  # timeouts that a serial line may take to fall silent

# Telnet (RFC 854): IAC WILL|WONT|DO|DONT option, IAC SB ... IAC SE; the last of them may still be incomplete.
NEGOTIATION = re.compile(rb"(?:\xff[\xfb-\xfe].|\xff\xfa.*?\xff\xf0)*(?:\xff[\xfb-\xfe]?\Z|\xff\xfa.*\Z)?", re.DOTALL)

ALLOWED = (
    "tcp://HOST:PORT or serial:///dev/NAME, the latter with ?baudrate=9600 (default), another usual rate like 19200 or "
    "115200, and &xonxoff=1"
)


class LineBuffer:
    """Bytes in, complete lines out; owns no socket. CR LF, LF and CR end a line, empty lines are dropped.

    Telnet negotiation, with which a server on port 23 may begin, is dropped at the start of a line only: in the
    middle of one the same bytes are noise, and taking them out could turn noise into a number.
    """

    def __init__(self) -> None:
        self._rest = b""

    @property
    def rest(self) -> str:
        """What of a line without an end has arrived so far."""
        return _without_telnet(self._rest) if self._rest else ""

    def reset(self) -> None:
        """Forget a half line."""
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """Return the lines that data completes; raises Garbled when more than 512 bytes have no line end."""
        *lines, self._rest = (self._rest + data).replace(b"\r", b"\n").split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            self.reset()
            raise Garbled(f"more than {LONGEST_LINE} bytes without a line end")
        return [text for line in lines if (text := _without_telnet(line))]


def _without_telnet(line: bytes) -> str:
    start = NEGOTIATION.match(line)
    return line[start.end() if start else 0 :].decode("ascii", "replace").strip(" \t")


class LineLink:
    """Strictly half-duplex exchange of lines with one device; several tasks may call it, they queue.

    ``timeout`` is in seconds. ``stats`` counts every exchange that failed, keeps the reason of the last one
    and the round trip time; reconnections made here to get in step again are counted too.
    """

    def __init__(self, transport: Transport, address: str, timeout: float, mark: str = "$", echo: bool = False) -> None:
        self.address = address
        self.timeout = timeout
        self.stats = LinkStats()
        self._mark, self._echo = mark, echo
        self._transport = transport
        self._buffer = LineBuffer()
        self._lock = Precedence()
        self._connected = False
        self._closings = 0  # how often the end was asked for, which counts for an opening under way too
        self._in_doubt = False
        self._changing = False  # a request that changes the device is on its way, and nothing was answered since

    @property
    def connected(self) -> bool:
        """Whether ``connect`` succeeded and the connection was neither closed nor lost since."""
        return self._connected

    async def connect(self) -> None:
        """Open the connection, after closing the old one; raises LinkDown within about 2 s."""
        closings = self._closings
        async with self._lock:
            await self._reopen(closings)
            # The process before us may have asked something whose answer is still on its way.
            self._in_doubt = self._transport.remembers

    async def close(self) -> None:
        """Close the connection; an exchange or connect under way fails with LinkDown. Safe to call at any time."""
        self._closings += 1
        await self._shut()

    async def _shut(self) -> None:
        self._connected = False
        self._take_back()
        await self._transport.close()

    def mark_unsynchronised(self) -> None:
        """Say that the last line made no sense: get in step again before the next request."""
        self._in_doubt = True

    async def exchange(self, request: bytes, *, timeout: float | None = None, changes: bool = False) -> str:
        """Send a request and return the one line that answers it, without its line end.

        ``changes`` says that the request changes the device: leave is asked for immediately before its first byte, and
        when this raises, what had not been delivered of it never will be. Raises Withdrawn (nothing was sent), LinkDown
        (not connected, closed, reset), ReplyTimeout (sent, but no complete line within ``timeout`` seconds) or Garbled
        (unreadable bytes, or more than one line).
        """
        async with self._lock:
            try:
                await self._begin(changes)
                return await self._ask(request, self.timeout if timeout is None else timeout)
            except Withdrawn:
                raise
            except DeviceError as error:
                self._count(error)
                raise
            except OSError as error:
                raise await self._lost(error) from error

    async def tell(self, request: bytes) -> None:
        """Send a request that changes the device and has no answer.

        Raises Withdrawn (nothing was sent), or LinkDown. What has not been delivered by the time at which the next
        exchange fails never will be.
        """
        async with self._lock:
            try:
                await self._begin(changes=True)
                await self._transport.write(request)
            except OSError as error:
                raise await self._lost(error) from error

    async def _begin(self, changes: bool) -> None:
        """Get in step, and leave for a request that changes the device, immediately before its first byte."""
        if not self._connected:
            raise LinkDown(f"{self.address}: not connected")
        await self._get_in_step()
        if changes:
            permit.changing()
            self._changing = True

    async def _lost(self, error: OSError) -> LinkDown:
        """Close a connection that is gone; return what to raise."""
        lost = LinkDown(f"{self.address}: connection lost: {reason_of(error)}")
        self._count(lost)
        await self._shut()
        return lost

    async def _ask(self, request: bytes, timeout: float) -> str:
        clock = asyncio.get_running_loop().time
        sent = clock()
        self._in_doubt = True  # until exactly one line has come back, whatever ends this before
        try:
            await self._transport.write(request)
            line = await self._receive(request, sent + timeout, timeout)
            self.stats.rtt = clock() - sent
            # A line end that is noise cuts a number short, and a late answer may have the right one at its heels.
            await asyncio.sleep(PAUSE)
            if self._buffer.feed(await self._transport.read(0)) or self._buffer.rest:
                raise Garbled(f"more than one line in answer to {_shown(request)}: {line[:60]!a}")
            self._changing = self._in_doubt = False
            return line
        finally:
            self._take_back()

    async def _receive(self, request: bytes, deadline: float, timeout: float) -> str:
        clock = asyncio.get_running_loop().time
        while (left := deadline - clock()) > 0 and (data := await self._transport.read(left)):
            lines = self._buffer.feed(data)
            answers = [line for line in lines if not self._is_echo(line, request)]
            rest = self._buffer.rest
            text = " ".join((*answers, rest)).strip()
            if not text.isascii() or not text.isprintable():
                raise Garbled(f"unreadable answer to {_shown(request)}: {text[:60]!a}")
            # A second answer means that one of the two belongs to an older question. Which one is not known,
            # and a value not read costs one period, but a wrong one may cost a detector.
            if len(answers) > 1 or (answers and rest):
                raise Garbled(f"more than one line in answer to {_shown(request)}: {text[:60]!a}")
            if answers:
                return text
        begun = f", only {self._buffer.rest[:60]!a}" if self._buffer.rest else ""
        raise ReplyTimeout(f"no answer to {_shown(request)} within {timeout:g} s{begun}")

    def _is_echo(self, line: str, request: bytes) -> bool:
        return bool(self._mark and line.startswith(self._mark)) or (self._echo and line == _shown(request))

    def _take_back(self) -> None:
        if self._changing:
            self._changing = False
            self._transport.take_back()

    async def _get_in_step(self) -> None:
        """Leave nothing on the wire that could be taken for the answer to the next request."""
        closings = self._closings
        if not self._in_doubt and not await self._drop_unasked():
            return
        if self._transport.remembers:
            await self._wait_for_silence()
        else:
            await self._reopen(closings)
            self.stats.reconnects += 1
        self._buffer.reset()
        self._in_doubt = False

    async def _drop_unasked(self) -> bool:
        """Drop and count what arrived since the last answer; True when more of it is still to come."""
        lines: list[str] = []
        try:
            while data := await self._transport.read(0):
                lines += self._buffer.feed(data)
                if len(lines) > LONGEST_LINE:
                    raise Garbled("an unending stream")
        except Garbled as error:
            self._count(error)
            return True
        if lines or self._buffer.rest:
            self._count(Garbled(f"arrived unasked: {' '.join((*lines, self._buffer.rest))[:60]!a}"))
        return bool(self._buffer.rest)

    async def _wait_for_silence(self) -> None:
        clock = asyncio.get_running_loop().time
        patience = clock() + PATIENCE * self.timeout
        while await self._transport.read(self.timeout):
            if clock() > patience:
                raise Garbled(f"{self.address}: the line does not fall silent")

    async def _reopen(self, closings: int) -> None:
        """Open anew, unless the link was closed since it had been closed so many times."""
        await self._shut()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await self._transport.open()
        except TimeoutError as error:
            await self._shut()
            raise LinkDown(f"{self.address}: no connection within {CONNECT_TIMEOUT:g} s") from error
        except OSError as error:
            await self._shut()
            path = self.address[9:].partition("?")[0] if self.address.startswith("serial://") else ""
            raise LinkDown(f"{self.address}: cannot connect: {reason_of(error, path)}") from error
        except asyncio.CancelledError:
            await self._shut()
            raise
        if self._closings != closings:
            await self._shut()
            raise LinkDown(f"{self.address}: closed")
        self._buffer.reset()
        self._connected = True

    def _count(self, error: DeviceError) -> None:
        self.stats.errors += 1
        self.stats.last_error = str(error)


def _shown(request: bytes) -> str:
    return request.decode("ascii", "replace").strip()


def parse_address(address: str) -> TcpAddress | SerialAddress:
    """Read the ``address`` of a device; raises ValueError that says what is allowed."""
    try:
        url = urlsplit(address)
        if url.scheme == "tcp" and url.hostname and url.port and not (url.path.strip("/") or url.query):
            url.hostname.encode("idna")  # raises UnicodeError, a ValueError, as the resolver would
            return TcpAddress(url.hostname, url.port)
        if url.scheme == "serial" and url.netloc + url.path:
            options = dict(parse_qsl(url.query, keep_blank_values=True, strict_parsing=bool(url.query)))
            baudrate, xonxoff = int(options.pop("baudrate", "9600")), options.pop("xonxoff", "0")
            if not options and baudrate in serial.Serial.BAUDRATES and xonxoff in ("0", "1"):
                return SerialAddress(url.netloc + url.path, baudrate, xonxoff == "1")
    except ValueError as error:
        raise ValueError(f"address {address!r}: {error}; allowed is {ALLOWED}") from error
    raise ValueError(f"address {address!r}: allowed is {ALLOWED}")


def open_link(address: str, timeout: float, mark: str = "$", echo: bool = False) -> LineLink:
    """Return the link to an address, not connected yet; ``timeout`` in seconds. Raises ValueError.

    ``mark`` is what starts all requests and no answers, so that a disturbed echo is known, empty when there is none.
    ``echo`` says that the device sends each request back before it answers.
    """
    where = parse_address(address)
    transport = TcpTransport(where) if isinstance(where, TcpAddress) else SerialTransport(where)
    return LineLink(transport, address, timeout, mark, echo)
