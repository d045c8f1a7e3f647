"""A thin client on the C Channel Access library that epicscorelibs ships, for tests.

It keeps the raw bytes of every answer next to the decoded ones and hides nothing: return codes are the ECA
codes of caerr.h. One ``Context`` is one set of circuits; several may live side by side. All calls come from
one thread (the library's own threads only fill queues), and each call that waits has a deadline in seconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from tests import dbr
from tests import libca_calls as calls

ECA_NORMAL, ECA_TIMEOUT, ECA_DISCONN = 1, 80, 192
ECA_BADTYPE, ECA_PUTFAIL, ECA_GETFAIL = 114, 160, 152
ECA_NOWTACCESS, ECA_BADCOUNT, ECA_NOCONVERT = 376, 176, 384


def message(code: int) -> str:
    """Text of an ECA code."""
    return bytes(calls.message(code)).decode("ascii")


class CaError(AssertionError):
    """A call of the library did not return ECA_NORMAL; the test fails unless it expects it."""

    def __init__(self, code: int, what: str) -> None:
        super().__init__(f"{what}: {message(code)} (ECA {code})")
        self.code = code


@dataclass(frozen=True)
class Reply:
    """One answer: the structure's bytes as the library handed them over, and when."""

    dbr_type: int
    count: int
    raw: bytes
    status: int
    arrived: float

    @property
    def decoded(self) -> dbr.Decoded:
        """The structure as named things."""
        return dbr.decode(self.dbr_type, self.count, self.raw)

    @property
    def value(self) -> Any:
        """The value alone."""
        return self.decoded.value

    @property
    def canonical(self) -> bytes:
        """The bytes that carry meaning, time stamps zeroed."""
        return dbr.canonical(self.dbr_type, self.count, self.raw)


def _reply(args: calls.EventArgs) -> Reply:
    size = dbr.size(args.type, args.count) if args.dbr else 0
    raw = ctypes.string_at(args.dbr, size) if size else b""
    return Reply(args.type, args.count, raw, args.status, time.monotonic())


@dataclass
class Subscription:
    """A monitor; ``events`` grows from the library's thread."""

    channel: Channel
    events: list[Reply] = field(default_factory=list)
    token: int = 0
    handle: Any = None

    def wait(self, count: int, deadline: float = 5.0) -> list[Reply]:
        """The events so far, once there are at least count of them."""
        self.channel.context.wait_for(
            lambda: len(self.events) >= count,
            deadline,
            lambda: f"{self.channel.name}: {len(self.events)} of {count} events, last {self.events[-1:]}",
        )
        return list(self.events)

    def wait_value(self, value: object, deadline: float = 5.0) -> Reply:
        """The first event that carries a value."""
        self.channel.context.wait_for(
            lambda: any(event.value == value for event in list(self.events)),
            deadline,
            lambda: f"{self.channel.name}: no event {value!r}, last {[e.value for e in self.events[-3:]]}",
        )
        return next(event for event in self.events if event.value == value)

    def clear(self) -> None:
        """Cancel it; no event arrives after this returns."""
        self.channel.context.use()
        code = calls.clear_subscription(self.handle)
        calls.targets.pop(self.token, None)
        if code != ECA_NORMAL:
            raise CaError(code, "clear subscription")


class Channel:
    """One channel of a context."""

    def __init__(self, context: Context, name: str) -> None:
        self.context, self.name = context, name
        self.connections: list[bool] = []  # every change: connected, disconnected
        self.rights: list[tuple[bool, bool]] = []
        self._token = next(calls.tokens)
        calls.targets[self._token] = self._changed
        self._id: Any = ctypes.c_void_p()
        context.use()
        code = calls.create_channel(
            name.encode(), calls.on_connection, ctypes.c_void_p(self._token), 20, ctypes.byref(self._id)
        )
        if code != ECA_NORMAL:
            raise CaError(code, f"create channel {name}")
        calls.rights(self._id, calls.on_rights)

    def _changed(self, args: calls.ConnectionArgs | None) -> None:
        if args is None:
            self.rights.append((bool(calls.read_access(self._id)), bool(calls.write_access(self._id))))
        else:
            self.connections.append(args.op == calls.CONNECTION_UP)

    @property
    def handle(self) -> Any:
        """The library's channel id."""
        return self._id

    @property
    def connected(self) -> bool:
        """What the last connection event reported."""
        return bool(self.connections) and self.connections[-1]

    @property
    def field_type(self) -> int:
        """Native DBR type."""
        return int(calls.field_type(self._id))

    @property
    def element_count(self) -> int:
        """Native count."""
        return int(calls.element_count(self._id))

    @property
    def host(self) -> str:
        """Host and port of the server."""
        return bytes(calls.host_name(self._id)).decode()

    @property
    def may_read(self) -> bool:
        """Read access."""
        return bool(calls.read_access(self._id))

    @property
    def may_write(self) -> bool:
        """Write access."""
        return bool(calls.write_access(self._id))

    def get_any(self, dbr_type: int | None = None, count: int = 0, deadline: float = 5.0) -> Reply:
        """Get, whatever the status in the reply; count 0 asks for as many as there are now."""
        wanted = self.field_type if dbr_type is None else dbr_type
        answers: list[Reply] = []
        with self.context.callback(lambda args: answers.append(_reply(args))) as token:
            code = calls.get(wanted, count, self._id, calls.on_event, ctypes.c_void_p(token))
            if code != ECA_NORMAL:
                raise CaError(code, f"get {self.name}")
            calls.flush_io()
            self.context.wait_for(lambda: bool(answers), deadline, lambda: f"{self.name}: no answer to a get")
        return answers[0]

    def get(self, dbr_type: int | None = None, count: int = 0, deadline: float = 5.0) -> Reply:
        """Get; anything but ECA_NORMAL fails."""
        answer = self.get_any(dbr_type, count, deadline)
        if answer.status != ECA_NORMAL:
            raise CaError(answer.status, f"get {self.name}")
        return answer

    def value(self, dbr_type: int | None = None) -> Any:
        """The value alone, now."""
        return self.get(dbr_type).value

    def put(self, value: object, dbr_type: int | None = None) -> None:
        """Put without completion; a refusal shows up in the context's exceptions, if at all."""
        native = _put_type(value) if dbr_type is None else dbr_type
        count, raw = dbr.encode(value, dbr.element(native))
        self.context.use()
        code = calls.put(native, count, self._id, raw)
        if code != ECA_NORMAL:
            raise CaError(code, f"put {self.name}")
        calls.flush_io()

    def put_callback(self, value: object, dbr_type: int | None = None, deadline: float = 5.0) -> int:
        """Put and wait for completion; the ECA code that the server answered."""
        native = _put_type(value) if dbr_type is None else dbr_type
        count, raw = dbr.encode(value, dbr.element(native))
        codes: list[int] = []
        with self.context.callback(lambda args: codes.append(args.status)) as token:
            code = calls.put_callback(native, count, self._id, raw, calls.on_event, ctypes.c_void_p(token))
            if code != ECA_NORMAL:
                raise CaError(code, f"put {self.name}")
            calls.flush_io()
            self.context.wait_for(lambda: bool(codes), deadline, lambda: f"{self.name}: put did not complete")
        return codes[0]

    def start_put_callback(self, value: object, dbr_type: int | None = None) -> list[int]:
        """Put with completion, but do not wait: the ECA code appears in the list."""
        native = _put_type(value) if dbr_type is None else dbr_type
        count, raw = dbr.encode(value, dbr.element(native))
        codes: list[int] = []
        token = next(calls.tokens)
        calls.targets[token] = lambda args: codes.append(args.status)
        self.context.owned.append(token)
        self.context.use()
        code = calls.put_callback(native, count, self._id, raw, calls.on_event, ctypes.c_void_p(token))
        if code != ECA_NORMAL:
            raise CaError(code, f"put {self.name}")
        calls.flush_io()
        return codes

    def monitor(self, dbr_type: int | None = None, count: int = 0, mask: int = 5) -> Subscription:
        """Subscribe; the default mask is VALUE and ALARM."""
        wanted = self.field_type + dbr.TIME if dbr_type is None else dbr_type
        subscription = Subscription(self, token=next(calls.tokens), handle=ctypes.c_void_p())
        calls.targets[subscription.token] = lambda args: subscription.events.append(_reply(args))
        self.context.owned.append(subscription.token)
        self.context.use()
        code = calls.subscribe(
            wanted,
            count,
            self._id,
            mask,
            calls.on_event,
            ctypes.c_void_p(subscription.token),
            ctypes.byref(subscription.handle),
        )
        if code != ECA_NORMAL:
            raise CaError(code, f"monitor {self.name}")
        calls.flush_io()
        return subscription

    def clear(self) -> None:
        """Close the channel."""
        self.context.use()
        code = calls.clear_channel(self._id)
        calls.flush_io()
        calls.targets.pop(self._token, None)
        if code != ECA_NORMAL:
            raise CaError(code, f"clear {self.name}")


def _put_type(value: object) -> int:
    first = value[0] if isinstance(value, list | tuple) and value else value
    if isinstance(first, bytes):
        return dbr.CHAR
    if isinstance(first, str):
        return dbr.STRING
    return dbr.DOUBLE if isinstance(first, float) else dbr.LONG


class Context:
    """One client: own circuits, own settings; to be closed, or used as a context manager.

    ``address`` is ``host:port`` of the only server asked; with ``tcp`` the search goes over TCP
    (EPICS_CA_NAME_SERVERS) instead of UDP.
    """

    def __init__(self, address: str, *, tcp: bool = False) -> None:
        self.exceptions: list[tuple[int, str]] = []
        self.owned: list[int] = []
        # The library starts a repeater process unless it finds the repeater's port taken.
        self._repeater = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._repeater.bind(("", 0))
        environment = {
            "EPICS_CA_ADDR_LIST": "" if tcp else address,
            "EPICS_CA_NAME_SERVERS": address if tcp else "",
            "EPICS_CA_AUTO_ADDR_LIST": "NO",
            "EPICS_CA_REPEATER_PORT": str(self._repeater.getsockname()[1]),
            "EPICS_CA_MAX_SEARCH_PERIOD": "60",
        }
        self._token = next(calls.tokens)
        calls.targets[self._token] = lambda args: self.exceptions.append((args.stat, (args.ctx or b"").decode()))
        calls.detach_context()
        with patch.dict(os.environ, environment):
            code = calls.context_create(1)
            if code != ECA_NORMAL:
                raise CaError(code, "create context")
            self._id = calls.current_context()
            calls.exception_event(calls.on_exception, ctypes.c_void_p(self._token))
            # The address lists are read when the first channel is made.
            self._first = Channel(self, "labioc:tests:nobody")
        self._first.clear()

    def __enter__(self) -> Context:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def use(self) -> None:
        """Make this the current context of the calling thread."""
        if calls.current_context() != self._id:
            calls.detach_context()
            code = calls.attach_context(self._id)
            if code != ECA_NORMAL:
                raise CaError(code, "attach context")

    def close(self) -> None:
        """Destroy the context with everything in it; again is harmless."""
        if self._id is None:
            return
        self.use()
        calls.context_destroy()
        self._id = None
        for token in (self._token, *self.owned):
            calls.targets.pop(token, None)
        self._repeater.close()

    @contextlib.contextmanager
    def callback(self, target: Callable[[Any], None]) -> Iterator[int]:
        """A callback target for one request, forgotten afterwards."""
        self.use()
        token = next(calls.tokens)
        calls.targets[token] = target
        try:
            yield token
        finally:
            calls.targets.pop(token, None)

    def wait_for(self, condition: Callable[[], bool], deadline: float, complaint: Callable[[], str]) -> None:
        """Wait until a condition that the library's threads bring about holds."""
        end = time.monotonic() + deadline
        self.use()
        calls.flush_io()
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"after {deadline} s: {complaint()}; exceptions {self.exceptions}")
            threading.Event().wait(0.001)

    def channels(self, names: Sequence[str]) -> list[Channel]:
        """Channels that may or may not connect."""
        made = [Channel(self, name) for name in names]
        calls.flush_io()
        return made

    def connect(self, names: Sequence[str], deadline: float = 5.0) -> list[Channel]:
        """Channels, all connected."""
        made = self.channels(names)
        self.wait_for(
            lambda: all(channel.connected for channel in made),
            deadline,
            lambda: f"not connected: {[c.name for c in made if not c.connected][:5]}",
        )
        return made

    def channel(self, name: str, deadline: float = 5.0) -> Channel:
        """One connected channel."""
        return self.connect([name], deadline)[0]

    def get_many(self, requests: Sequence[tuple[Channel, int, int]], deadline: float = 30.0) -> list[Reply]:
        """Get (channel, DBR type, count) for each request, sent in one go; whatever the status in the replies."""
        answers: dict[int, Reply] = {}
        tokens: list[int] = []
        self.use()
        for index, (channel, dbr_type, count) in enumerate(requests):
            token = next(calls.tokens)
            tokens.append(token)
            calls.targets[token] = functools.partial(_keep, answers, index)
            code = calls.get(dbr_type, count, channel.handle, calls.on_event, ctypes.c_void_p(token))
            if code != ECA_NORMAL:
                answers[index] = Reply(dbr_type, count, b"", code, time.monotonic())
        self.wait_for(
            lambda: len(answers) == len(requests),
            deadline,
            lambda: f"{len(answers)} answers to {len(requests)} gets",
        )
        for token in tokens:
            calls.targets.pop(token, None)
        return [answers[index] for index in range(len(requests))]


def _keep(answers: dict[int, Reply], index: int, args: calls.EventArgs) -> None:
    answers[index] = _reply(args)
