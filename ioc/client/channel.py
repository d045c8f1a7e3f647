"""One PV of a client: read, put, monitor, whichever server has it at the moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import caproto

from ioc.client.reading import CHAR, STRING, Meta, Reading, Scalar, encoded, reading_of
from labioc_ca.circuit import Circuit
from labioc_ca.client import VALUE_AND_ALARM
from labioc_ca.environment import Address

_TIME: Final = 14
_CONTROL: Final = 28
_WRITE_ACCESS: Final = 2

OnEvent = Callable[["Channel", Reading | None], None]


class ReadError(Exception):
    """A PV could not be read; the text says why."""


class PutError(Exception):
    """A put was refused (``answered``: by its server), or its outcome is ``unknown``; the text says why."""

    def __init__(self, reason: str, unknown: bool = False, answered: bool = False) -> None:
        super().__init__(reason)
        self.unknown = unknown
        self.answered = answered


class Channel:
    """A PV by its name; ``number`` stands for it in all messages.

    ``connected`` completes when a server has it; after the loss of the connection there is a new one.
    """

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number
        self.placed = False
        """Whether a circuit has it already, connected or not."""
        self.meta: Meta | None = None
        self.connection: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.address: Address | None = None
        self._circuit: Circuit | None = None
        self._state: caproto.ClientChannel | None = None
        self._on_event: OnEvent | None = None

    @property
    def connected(self) -> bool:
        """Whether a server has the PV."""
        return self._state is not None

    @property
    def native(self) -> int:
        """DBR type that the server has (0 to 6), 0 while there is no connection."""
        return int(self._state.native_data_type) if self._state is not None else 0

    @property
    def count(self) -> int:
        """How many elements the PV has at most, 0 while there is no connection."""
        return int(self._state.native_data_count) if self._state is not None else 0

    @property
    def writable(self) -> bool:
        """Whether the server permits this client to write."""
        rights = self._state.access_rights if self._state is not None else 0
        return rights is None or bool(int(rights) & _WRITE_ACCESS)

    @property
    def long_string(self) -> bool:
        """Whether the characters of the array are a text (``NAME$``)."""
        return self.native == CHAR and self.name.partition("{")[0].endswith("$")

    async def read(self, timeout: float) -> Reading:
        """Return value, time, alarm, unit and limits; raises ReadError."""
        state, circuit = self._ready(ReadError)
        futures = [circuit.request(state.read(data_type=_TIME + self.native, data_count=0))]
        if self.native != STRING:
            futures.append(circuit.request(self._describe(state)))
        try:
            async with asyncio.timeout(timeout):
                responses = await asyncio.gather(*futures)
        except TimeoutError as error:
            raise ReadError(f"no answer within {timeout:g} s") from error
        except ConnectionError as error:
            raise ReadError(str(error)) from error
        for response in responses:
            if refusal := _refusal(response):
                raise ReadError(refusal)
        self.meta = Meta.of(responses[1].metadata) if len(responses) > 1 else Meta()
        return reading_of(responses[0], self.long_string, self.meta)

    async def put(self, value: Scalar | tuple[Scalar, ...], timeout: float) -> None:
        """Put and wait until the server has done it. Text is converted by the server. Raises PutError.

        It is sent once and never again. When no answer came, its outcome is unknown.
        """
        state, circuit = self._ready(PutError)
        future = circuit.request(self._write(state, value, notify=True))
        try:
            async with asyncio.timeout(timeout):
                response = await future
        except TimeoutError as error:
            raise PutError(f"no answer within {timeout:g} s; the outcome is unknown", unknown=True) from error
        except ConnectionError as error:
            raise PutError(f"{error}; the outcome is unknown", unknown=True) from error
        if refusal := _refusal(response):
            raise PutError(refusal, answered=True)

    def send_put(self, value: Scalar | tuple[Scalar, ...]) -> None:
        """Put without completion: nothing is known of what becomes of it. Raises PutError when it can't be sent."""
        state, circuit = self._ready(PutError)
        circuit.send(self._write(state, value, notify=False))

    def monitor(self, on_event: OnEvent) -> None:
        """Have a function called with each change, and with None when the connection is lost.

        The first call is the present value; it is so again after each new connection.
        """
        self._on_event = on_event
        if self._state is not None:
            self._subscribe(self._state)

    # ---- for the circuit

    def opened(self, circuit: Circuit, address: Address, state: caproto.ClientChannel) -> None:
        """Take note that a server has it."""
        self._circuit, self.address, self._state = circuit, address, state
        if not self.connection.done():
            self.connection.set_result(None)
        if self._on_event is not None:
            self._subscribe(state)

    def closed(self) -> None:
        """Take note that no server has it any more."""
        if self._state is None:
            return
        self._circuit = self.address = self._state = self.meta = None
        self.connection = asyncio.get_running_loop().create_future()
        if self._on_event is not None:
            self._on_event(self, None)

    def event(self, response: Any) -> None:
        """Take a change."""
        if self._on_event is not None and not _refusal(response):
            self._on_event(self, reading_of(response, self.long_string, self.meta or Meta()))

    # ----

    def _ready(self, kind: type[ReadError] | type[PutError]) -> tuple[caproto.ClientChannel, Circuit]:
        if self._state is None or self._circuit is None:
            raise kind("not connected")
        return self._state, self._circuit

    def _write(self, state: caproto.ClientChannel, value: Scalar | tuple[Scalar, ...], notify: bool) -> Any:
        try:
            data, kind, count = encoded(value, self.native, self.count)
        except ValueError as error:
            raise PutError(str(error)) from error
        return state.write(data, data_type=kind, data_count=count, notify=notify)

    def _subscribe(self, state: caproto.ClientChannel) -> None:
        """Ask for unit and states, then for the events, which are shown with them."""
        assert self._circuit is not None
        circuit = self._circuit

        def subscribe(description: asyncio.Future[Any] | None = None) -> None:
            if description is not None:
                if description.cancelled() or description.exception() is not None:
                    return  # the connection is gone
                response = description.result()
                self.meta = Meta() if _refusal(response) else Meta.of(response.metadata)
            circuit.monitor(state, _TIME + self.native, VALUE_AND_ALARM)

        if self.native == STRING:
            subscribe()
        else:
            circuit.request(self._describe(state)).add_done_callback(subscribe)

    def _describe(self, state: caproto.ClientChannel) -> Any:
        return state.read(data_type=_CONTROL + self.native, data_count=min(self.count, 1))


def _refusal(response: Any) -> str:
    """Return why a server did not do what it was asked for, empty when it did."""
    error = isinstance(response, caproto.ErrorResponse)
    try:
        status = response.status
    except KeyError:  # a number that caproto does not know
        status = None
    if status is None or (error and status.success):
        number = response.header.parameter2 if error else response.header.parameter1
        return f"answered with ECA status {number}"
    return "" if status.success else str(status.description)
