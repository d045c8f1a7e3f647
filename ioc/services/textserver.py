"""A text interface over TCP for programs made for an older furnace server: one request, one answer, then the end.

    Status               Ok
    Get:CELL             the word of a register, 0 to 65535, without decimal point
    Set:CELL:VALUE       Ok, when the site file allows it
    Read                 PV=183.4;SP=250;SPrate=5;WOp=32.5
    Exit, Quit           Exit; the connection ends, the server goes on
    anything else        Unknown command

Answers come from the last scan, so that no client can load the line to the instrument; ``None`` stands for a value that
is not known. What is set goes the way of every put, with its limits and refusals. As in the older server a request
needs no line end, its keyword may stand anywhere in its first field, and ``Read`` divides words by ten whatever the
decimals of the instrument are.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol, runtime_checkable

from devices.errors import DeviceError
from devices.model import Value
from ioc.access import Policy
from ioc.records import AccessDenied, PutContext, PutRefused, Record, fields_of
from ioc.site.config import TextSettings

log = logging.getLogger("labioc.textserver")

USER = "textserver"
"""The user in the [access] section of what is written here; the host is the client's address."""

LONGEST_REQUEST = 1024  # bytes
PATIENCE = 5.0  # seconds that a client may take to say something, or to take its answer
CLIENTS = 16  # at a time
KEYWORDS = ("Exit", "Quit", "Status", "Get", "Set", "Read")
"""In the order in which a request is searched for them."""

UNKNOWN = "Unknown command"
FAILED = "Exception occurred: "
SHOWN = (("PV", 1), ("SP", 2), ("SPrate", 35), ("WOp", 4))
"""What ``Read`` tells, with the registers."""


@runtime_checkable
class RegisterDevice(Protocol):
    """A driver whose device has 16-bit registers by number; all errors are DeviceErrors."""

    def word(self, register: int) -> int | None:
        """Return a word from the last scan, None when there is no reading."""

    def setting_at(self, register: int, word: int) -> tuple[str, Value]:
        """Return the signal to set, and its value, for a word meant for a register."""


class Link(Protocol):
    """What is known of the conversation with the device."""

    @property
    def ready(self) -> bool:
        """Whether its readings count."""


class TextServer:
    """Serves one device; ``records`` are that device's by signal."""

    def __init__(
        self,
        settings: TextSettings,
        device: RegisterDevice,
        records: Mapping[str, Record],
        policy: Policy,
        link: Link,
        patience: float = PATIENCE,
    ) -> None:
        self._settings = settings
        self._device = device
        self._records = records
        self._policy = policy
        self._link = link
        self._patience = patience
        self._server: asyncio.Server | None = None
        self._sessions: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The TCP port, once started."""
        return int(self._server.sockets[0].getsockname()[1]) if self._server else self._settings.port

    async def start(self) -> None:
        """Listen; raises OSError when the port is taken."""
        self._server = await asyncio.start_server(
            self._serve, self._settings.interface, self._settings.port, limit=LONGEST_REQUEST
        )
        log.info("text interface of %s at %s port %d", self._settings.device, self._settings.interface, self.port)

    async def stop(self) -> None:
        """Stop listening and end every session."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for session in self._sessions:
            session.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = asyncio.current_task()
        assert session is not None
        self._sessions.add(session)
        try:
            if len(self._sessions) <= CLIENTS:
                async with asyncio.timeout(self._patience):
                    request = await reader.read(LONGEST_REQUEST)
                if request:
                    answer = await self.answer(request.decode("utf-8", "replace"), writer.get_extra_info("peername"))
                    writer.write(answer.encode())
                    async with asyncio.timeout(self._patience):
                        await writer.drain()
        except (OSError, TimeoutError, asyncio.CancelledError) as error:
            log.debug("text client: %r", error)
        except Exception:
            log.exception("text client: internal error")
        finally:
            self._sessions.discard(session)
            writer.close()
            with suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def answer(self, request: str, peer: tuple[str, int]) -> str:
        """Return the answer to one request, whatever it is."""
        fields = request.strip().split(":")
        match next((keyword for keyword in KEYWORDS if keyword in fields[0]), ""):
            case "Exit" | "Quit":
                return "Exit"
            case "Status":
                return "Ok"
            case "Get":
                return self._get(fields)
            case "Set":
                return await self._set(fields, peer)
            case "Read":
                return ";".join(f"{name}={self._tenth(register)}" for name, register in SHOWN)
        return UNKNOWN

    def _get(self, fields: list[str]) -> str:
        if len(fields) < 2 or not fields[1].strip():
            return UNKNOWN
        try:
            word = self._word(_number(fields[1]))
        except (DeviceError, ValueError) as error:
            return f"{FAILED}{error}"
        if word is None:
            return "None"
        return str(word) if word % 10 == 0 else f"{word}.0"  # what came of dividing by ten and multiplying again

    def _tenth(self, register: int) -> str:
        try:
            word = self._word(register)
        except DeviceError as error:
            return f"{FAILED}{error}"
        return "None" if word is None else f"{word // 10}" if word % 10 == 0 else f"{word / 10:.1f}"

    def _word(self, register: int) -> int | None:
        return self._device.word(register) if self._link.ready else None

    async def _set(self, fields: list[str], peer: tuple[str, int]) -> str:
        if len(fields) < 3:
            return UNKNOWN
        if not self._settings.allow_set:
            return f"{FAILED}Set is switched off (allow_set in the [textserver] section of the site file)"
        try:
            register, word = _number(fields[1]), _number(fields[2])
            signal, value = self._device.setting_at(register, word & 0xFFFF)
            await self._put(self._records[signal], value, peer)
        except (DeviceError, PutRefused, ValueError) as error:
            return f"{FAILED}{error}"
        return "Ok"

    async def _put(self, record: Record, value: Value, peer: tuple[str, int]) -> None:
        """Put like any client. Raises PutRefused."""
        context = PutContext(USER, peer[0], (peer[0], peer[1]), callback=True)
        denied = self._policy.may_put(record, "VAL", context)
        spec = fields_of(record.rtyp)["VAL"]
        try:
            if denied is not None:
                raise AccessDenied(denied)
            record.check_device_put(spec, value)
        except PutRefused as refusal:
            record.source.refused(record, "VAL", str(value), context, str(refusal))
            raise
        await record.put_device(spec, value, context)  # notes by itself what it refuses


def _number(text: str) -> int:
    """Read a register number or a word; raises ValueError."""
    number = int(text)
    if not -32768 <= number <= 65535:
        raise ValueError(f"{number} is not between 0 and 65535")
    return number
