"""A Modbus RTU line that minimalmodbus may use without its traps; blocking, for one thread.

minimalmodbus builds the requests, keeps the silence between frames and decodes the replies. What it takes for a serial
port is this module's ``RtuLine``, which hands it a reply only when that is beyond doubt:

* The reply is searched for in everything that has arrived: unit, function and length (for a write also address and
  value) have to be right and the CRC too. Echoes, stray bytes and frames of others are passed over.
* An exception reply, which is shorter than the expected one, ends the wait at once.
* The reply to a read does not tell the address, so a late one looks like that to any read of the same length. After
  an exchange that failed, the unit therefore has to prove first that it is in step: it is asked for a number of
  words that no lost request had. An instrument answers in order, so once that reply is there no older one can come.
  The same is done at the first contact after the port was opened.
* On a line with echo the echo of a function 6 request equals its reply. Whether there is an echo is learned from reads.

Nothing is ever repeated here.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import minimalmodbus

from devices.errors import DeviceError, Garbled, LinkDown, ReplyTimeout, Withdrawn, reason_of
from devices.links.modbus_frames import ACKNOWLEDGED, READ, WRITE_ONE, ModbusRefusal, Request, find_reply
from devices.links.modbus_serial import SerialWire

QUIET = 0.02  # seconds of silence after which a disturbed line counts as quiet
PATIENCE = 1.0  # seconds that a disturbed line may take to become quiet
GAP = 0.03  # seconds without a byte that end a reply that makes no sense; USB adapters pause for up to 16 ms
LATEST = 10.0  # seconds after which a reply that is late does not come any more
PROOFS = 8  # asked in one go
PROOF = range(1, 6)  # registers that are readable on most instruments
MOST_BYTES = 2048  # that may arrive before a wait is given up


class RtuLine:
    """One line with its units; everything but ``generation`` belongs to one thread at a time.

    ``generation`` counts how often the line was opened; it is 0 as long as it is not open.
    """

    def __init__(self, wire: SerialWire, clock: Callable[[], float] = time.monotonic) -> None:
        self.generation = 0
        self.rtt = 0.0
        self.timeout = 0.0  # minimalmodbus reads it; the waits are decided here
        self.port = wire.name
        self.baudrate = wire.baudrate
        self._wire = wire
        self._clock = clock
        self._opened = 0
        self._instruments: dict[int, minimalmodbus.Instrument] = {}
        self._doubts: dict[int, list[tuple[bytes, float]]] = {}  # heads of requests and when they were sent, in order
        self._readable: dict[int, range] = {}  # registers that a unit can be asked for to prove that it is in step
        self._known: set[int] = set()  # units that have been proven once since the line was opened
        self._disturbed = False
        self._echo: bool | None = None
        self._request = Request(0, READ, 0)
        self._limit = self._sent = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the port is open."""
        return self.generation > 0

    def open(self) -> None:
        """Open the port, unless it is open and its name still leads to it; raises LinkDown."""
        try:
            if self.is_open and self._wire.is_current():
                return
            self.close()
            self._wire.open()
        except OSError as error:
            raise LinkDown(f"{self.port}: cannot open: {reason_of(error, self.port)}") from error
        self._opened += 1
        self.generation = self._opened
        self._known.clear()
        self._echo, self._disturbed = None, True

    def close(self) -> None:
        """Close the port."""
        self.generation = 0
        self._wire.close()

    def prove_with(self, unit: int, registers: range) -> None:
        """Name registers of a unit that it lets be read together; the more, the surer it gets in step."""
        self._readable[unit] = registers

    def transact(self, request: Request, timeout: float, permit: Callable[[], None] = lambda: None) -> tuple[int, ...]:
        """Do one exchange and return the words read; ``timeout`` seconds beyond the time that the bytes take.

        ``permit`` is called immediately before the first byte; what it raises is raised here, and nothing is sent.

        Raises LinkDown (the line is closed then), ReplyTimeout, Garbled, or ModbusRefusal. Call ``prove`` before
        a write, so that an error here always means that it was sent.
        """
        self.prove(request.unit, timeout)
        try:
            words = self._exchange(request, timeout, permit)
        except ModbusRefusal:
            self._doubts.pop(request.unit, None)
            raise
        self._doubts.pop(request.unit, None)
        return words

    def prove(self, unit: int, timeout: float) -> None:
        """Make sure that no reply of this unit is still on its way; asks nothing when there is no doubt.

        Raises as ``transact``.
        """
        if not self._in_doubt(unit):
            return
        refused = ""
        for _ in range(PROOFS):
            proof = self._proof(unit)
            try:
                self._exchange(proof, timeout)
            except ModbusRefusal as refusal:
                refused = f": {refusal}"
                continue  # an exception may be the answer to any older request, so it proves nothing
            heads = [head for head, _ in self._doubts[unit]]
            # It answers the first request that it fits, and with that all before are answered or lost.
            del self._doubts[unit][: heads.index(proof.head) + 1]
            if not self._doubts[unit]:
                return
        raise Garbled(f"unit {unit}: does not get in step{refused}")

    def _in_doubt(self, unit: int) -> bool:
        now = self._clock()
        doubts = [doubt for doubt in self._doubts.get(unit, ()) if doubt[1] > now - LATEST]
        if unit not in self._known:
            # A program that had the port before us may have asked anything, also what is asked now as a proof.
            doubts += [(proof.head, now) for proof in self._proofs(unit)]
        self._known.add(unit)
        self._doubts[unit] = doubts
        return bool(doubts)

    def _proof(self, unit: int) -> Request:
        """Return a read that no request in doubt can be taken for, or the one whose first doubt is the latest."""
        heads = [head for head, _ in self._doubts[unit]]
        return max(self._proofs(unit), key=lambda proof: heads.index(proof.head) if proof.head in heads else len(heads))

    def _exchange(self, request: Request, timeout: float, permit: Callable[[], None] = lambda: None) -> tuple[int, ...]:
        """Leave the request in doubt unless it succeeds; success leaves the older doubts to the caller."""
        if not self.is_open:
            raise LinkDown(f"{self.port}: not open")
        try:
            self._calm()
            permit()
            self._request = request
            self._limit = timeout + (len(request.frame) + request.reply_length + 7) * self._wire.character
            self._doubts.setdefault(request.unit, []).append((request.head, self._clock()))
            return self._through_minimalmodbus(request)
        except Withdrawn:
            raise
        except DeviceError:
            self._disturbed = True  # by a refusal too: minimalmodbus keeps no silence after it
            raise
        except minimalmodbus.ModbusException as error:
            self._disturbed = True
            raise Garbled(f"{request}: {error}") from error
        except OSError as error:
            self.close()
            raise LinkDown(f"{self.port}: lost: {reason_of(error)}") from error

    def _through_minimalmodbus(self, request: Request) -> tuple[int, ...]:
        instrument = self._instruments.get(request.unit)
        if instrument is None:
            instrument = self._instruments[request.unit] = minimalmodbus.Instrument(self, request.unit)
        if request.function == READ:
            return tuple(instrument.read_registers(request.address, request.count))
        if request.function == WRITE_ONE:
            instrument.write_register(request.address, request.words[0], functioncode=WRITE_ONE)
        else:
            instrument.write_registers(request.address, list(request.words))
        return ()

    def _calm(self) -> None:
        """Wait until a disturbed line is quiet."""
        if not self._disturbed:
            return
        patience = self._clock() + PATIENCE
        while self._wire.read(QUIET):
            if self._clock() > patience:
                raise Garbled(f"{self.port}: the line does not become quiet")
        self._disturbed = False

    # What follows is called by minimalmodbus.

    def reset_input_buffer(self) -> None:
        """Do nothing: ``write`` drops what has arrived, after the silence that minimalmodbus keeps first."""

    def reset_output_buffer(self) -> None:
        """Do nothing: every request was sent completely."""

    def write(self, data: bytes) -> None:
        """Drop what has arrived unasked and send a request."""
        self._wire.read(0)
        self._wire.write(data)
        self._sent = self._clock()

    def read(self, size: int) -> bytes:
        """Return the reply of ``size`` bytes to the request sent last; raises as ``transact`` otherwise."""
        request, data, strange = self._request, b"", 0
        while (left := self._sent + self._limit - self._clock()) > 0 and len(data) < MOST_BYTES:
            complete = strange >= size
            more = self._wire.read(min(left, GAP) if complete else left)
            if complete and not more:
                break
            data += more
            rest, echo = self._without_echo(data)
            found = find_reply(request, rest)
            if found.reply or found.exception:
                self.rtt = self._clock() - self._sent
                if request.function != WRITE_ONE:
                    self._echo = echo
                return found.reply or self._refuse(found.exception)
            strange = found.strange
        shown = f"; received {data[:40].hex(' ')}" if data else ""
        if strange >= size:
            raise Garbled(f"{request}: no valid reply{shown}")
        raise ReplyTimeout(f"{request}: no reply within {self._limit * 1000:.0f} ms{shown}")

    def _without_echo(self, data: bytes) -> tuple[bytes, bool]:
        """Return data without the echo of the request, and whether there was one; noise may precede it."""
        sent = self._request.frame
        at = data.find(sent, 0, len(sent) + 4)
        if at < 0 or (self._request.function == WRITE_ONE and not self._echo):
            return data, False
        return data[at + len(sent) :], True

    def _refuse(self, code: int) -> bytes:
        if code == ACKNOWLEDGED and self._request.function != READ:
            raise ReplyTimeout(f"{self._request}: accepted, but not done yet")
        raise ModbusRefusal(self._request, code)

    def _proofs(self, unit: int) -> list[Request]:
        registers = self._readable.get(unit, PROOF)
        return [Request(unit, READ, registers.start, count) for count in range(1, len(registers) + 1)]
