"""A thin client on the C Channel Access library that epicscorelibs ships, for tests.

It keeps the raw bytes of every answer next to the decoded ones and hides nothing: return codes are the ECA
codes of caerr.h. One ``Context`` is one set of circuits; several may live side by side. All calls come from
one thread (the library's own threads only fill queues), and each call that waits has a deadline in seconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import itertools
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from epicscorelibs import path

from tests import dbr

ECA_NORMAL, ECA_TIMEOUT, ECA_DISCONN = 1, 80, 192
ECA_BADTYPE, ECA_PUTFAIL, ECA_GETFAIL, ECA_NOWTACCESS, ECA_BADCOUNT, ECA_NOCONVERT = (
    114,
    160,
    152,
    376,
    176,
    384,
)

_Com = ctypes.CDLL(path.get_lib("Com"), ctypes.RTLD_GLOBAL)
_ca = ctypes.CDLL(path.get_lib("ca"), ctypes.RTLD_GLOBAL)

_UP = 6


class _EventArgs(ctypes.Structure):
    _fields_ = (
        ("usr", ctypes.c_void_p),
        ("chid", ctypes.c_void_p),
        ("type", ctypes.c_long),
        ("count", ctypes.c_long),
        ("dbr", ctypes.c_void_p),
        ("status", ctypes.c_int),
    )


class _ConnectionArgs(ctypes.Structure):
    _fields_ = (("chid", ctypes.c_void_p), ("op", ctypes.c_long))


class _ExceptionArgs(ctypes.Structure):
    _fields_ = (
        ("usr", ctypes.c_void_p),
        ("chid", ctypes.c_void_p),
        ("type", ctypes.c_long),
        ("count", ctypes.c_long),
        ("addr", ctypes.c_void_p),
        ("stat", ctypes.c_long),
        ("op", ctypes.c_long),
        ("ctx", ctypes.c_char_p),
        ("file", ctypes.c_char_p),
        ("line", ctypes.c_uint),
    )


def _declare(name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    function = getattr(_ca, name)
    function.restype, function.argtypes = result, arguments
    return function  # type: ignore[no-any-return]


_P, _I, _L, _U, _D = ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_ulong, ctypes.c_double
_context_create = _declare("ca_context_create", _I, _I)
_context_destroy = _declare("ca_context_destroy", None)
_current_context = _declare("ca_current_context", _P)
_attach_context = _declare("ca_attach_context", _I, _P)
_detach_context = _declare("ca_detach_context", None)
_flush_io = _declare("ca_flush_io", _I)
_pointer = ctypes.POINTER(_P)
_create_channel = _declare("ca_create_channel", _I, ctypes.c_char_p, _P, _P, ctypes.c_uint, _pointer)
_clear_channel = _declare("ca_clear_channel", _I, _P)
_field_type = _declare("ca_field_type", ctypes.c_short, _P)
_element_count = _declare("ca_element_count", _U, _P)
_host_name = _declare("ca_host_name", ctypes.c_char_p, _P)
_read_access = _declare("ca_read_access", ctypes.c_uint, _P)
_write_access = _declare("ca_write_access", ctypes.c_uint, _P)
_set_puser = _declare("ca_set_puser", None, _P, _P)
_puser = _declare("ca_puser", _P, _P)
_rights = _declare("ca_replace_access_rights_event", _I, _P, _P)
_get = _declare("ca_array_get_callback", _I, _L, _U, _P, _P, _P)
_put = _declare("ca_array_put", _I, _L, _U, _P, ctypes.c_char_p)
_put_callback = _declare("ca_array_put_callback", _I, _L, _U, _P, ctypes.c_char_p, _P, _P)
_subscribe = _declare("ca_create_subscription", _I, _L, _U, _P, _L, _P, _P, _pointer)
_clear_subscription = _declare("ca_clear_subscription", _I, _P)
_exception_event = _declare("ca_add_exception_event", _I, _P, _P)
_message = _declare("ca_message", ctypes.c_char_p, _L)

_tokens = itertools.count(1)
_targets: dict[int, Callable[[Any], None]] = {}


def _dispatch(usr: int | None, arguments: Any) -> None:
    target = _targets.get(usr or 0)
    if target is not None:
        target(arguments)


# The callbacks live as long as the module: the library may call one until its context is destroyed.
_on_event = ctypes.CFUNCTYPE(None, _EventArgs)(lambda args: _dispatch(args.usr, args))
_on_connection = ctypes.CFUNCTYPE(None, _ConnectionArgs)(lambda args: _dispatch(_puser(args.chid), args))
_on_rights = ctypes.CFUNCTYPE(None, _ConnectionArgs)(lambda args: _dispatch(_puser(args.chid), None))
_on_exception = ctypes.CFUNCTYPE(None, _ExceptionArgs)(lambda args: _dispatch(args.usr, args))


def message(code: int) -> str:
    """Text of an ECA code."""
    return bytes(_message(code)).decode("ascii")


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


def _reply(args: _EventArgs) -> Reply:
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
        code = _clear_subscription(self.handle)
        _targets.pop(self.token, None)
        if code != ECA_NORMAL:
            raise CaError(code, "clear subscription")


class Channel:
    """One channel of a context."""

    def __init__(self, context: Context, name: str) -> None:
        self.context, self.name = context, name
        self.connections: list[bool] = []  # every change: connected, disconnected
        self.rights: list[tuple[bool, bool]] = []
        self._token = next(_tokens)
        _targets[self._token] = self._changed
        self._id: Any = ctypes.c_void_p()
        context.use()
        code = _create_channel(name.encode(), _on_connection, ctypes.c_void_p(self._token), 20, ctypes.byref(self._id))
        if code != ECA_NORMAL:
            raise CaError(code, f"create channel {name}")
        _rights(self._id, _on_rights)

    def _changed(self, args: _ConnectionArgs | None) -> None:
        if args is None:
            self.rights.append((bool(_read_access(self._id)), bool(_write_access(self._id))))
        else:
            self.connections.append(args.op == _UP)

    @property
    def handle(self) -> Any:
        """The library's channel id."""
        return self._id

    @property
    def connected(self) -> bool:
        """What the last connection event said."""
        return bool(self.connections) and self.connections[-1]

    @property
    def field_type(self) -> int:
        """Native DBR type."""
        return int(_field_type(self._id))

    @property
    def element_count(self) -> int:
        """Native count."""
        return int(_element_count(self._id))

    @property
    def host(self) -> str:
        """Host and port of the server."""
        return bytes(_host_name(self._id)).decode()

    @property
    def may_read(self) -> bool:
        """Read access."""
        return bool(_read_access(self._id))

    @property
    def may_write(self) -> bool:
        """Write access."""
        return bool(_write_access(self._id))

    def get_any(self, dbr_type: int | None = None, count: int = 0, deadline: float = 5.0) -> Reply:
        """Get, whatever the status in the reply; count 0 asks for as many as there are now."""
        wanted = self.field_type if dbr_type is None else dbr_type
        answers: list[Reply] = []
        with self.context.callback(lambda args: answers.append(_reply(args))) as token:
            code = _get(wanted, count, self._id, _on_event, ctypes.c_void_p(token))
            if code != ECA_NORMAL:
                raise CaError(code, f"get {self.name}")
            _flush_io()
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
        code = _put(native, count, self._id, raw)
        if code != ECA_NORMAL:
            raise CaError(code, f"put {self.name}")
        _flush_io()

    def put_callback(self, value: object, dbr_type: int | None = None, deadline: float = 5.0) -> int:
        """Put and wait for completion; the ECA code that the server answered."""
        native = _put_type(value) if dbr_type is None else dbr_type
        count, raw = dbr.encode(value, dbr.element(native))
        codes: list[int] = []
        with self.context.callback(lambda args: codes.append(args.status)) as token:
            code = _put_callback(native, count, self._id, raw, _on_event, ctypes.c_void_p(token))
            if code != ECA_NORMAL:
                raise CaError(code, f"put {self.name}")
            _flush_io()
            self.context.wait_for(lambda: bool(codes), deadline, lambda: f"{self.name}: put did not complete")
        return codes[0]

    def start_put_callback(self, value: object, dbr_type: int | None = None) -> list[int]:
        """Put with completion, but do not wait: the ECA code appears in the list."""
        native = _put_type(value) if dbr_type is None else dbr_type
        count, raw = dbr.encode(value, dbr.element(native))
        codes: list[int] = []
        token = next(_tokens)
        _targets[token] = lambda args: codes.append(args.status)
        self.context.owned.append(token)
        self.context.use()
        code = _put_callback(native, count, self._id, raw, _on_event, ctypes.c_void_p(token))
        if code != ECA_NORMAL:
            raise CaError(code, f"put {self.name}")
        _flush_io()
        return codes

    def monitor(self, dbr_type: int | None = None, count: int = 0, mask: int = 5) -> Subscription:
        """Subscribe; the default mask is VALUE and ALARM."""
        wanted = self.field_type + dbr.TIME if dbr_type is None else dbr_type
        subscription = Subscription(self, token=next(_tokens), handle=ctypes.c_void_p())
        _targets[subscription.token] = lambda args: subscription.events.append(_reply(args))
        self.context.owned.append(subscription.token)
        self.context.use()
        code = _subscribe(
            wanted,
            count,
            self._id,
            mask,
            _on_event,
            ctypes.c_void_p(subscription.token),
            ctypes.byref(subscription.handle),
        )
        if code != ECA_NORMAL:
            raise CaError(code, f"monitor {self.name}")
        _flush_io()
        return subscription

    def clear(self) -> None:
        """Close the channel."""
        self.context.use()
        code = _clear_channel(self._id)
        _flush_io()
        _targets.pop(self._token, None)
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
        self._token = next(_tokens)
        _targets[self._token] = lambda args: self.exceptions.append((args.stat, (args.ctx or b"").decode()))
        _detach_context()
        with _environment(environment):
            code = _context_create(1)
            if code != ECA_NORMAL:
                raise CaError(code, "create context")
            self._id = _current_context()
            _exception_event(_on_exception, ctypes.c_void_p(self._token))
            # The address lists are read when the first channel is made.
            self._first = Channel(self, "labioc:tests:nobody")
        self._first.clear()

    def __enter__(self) -> Context:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def use(self) -> None:
        """Make this the current context of the calling thread."""
        if _current_context() != self._id:
            _detach_context()
            code = _attach_context(self._id)
            if code != ECA_NORMAL:
                raise CaError(code, "attach context")

    def close(self) -> None:
        """Destroy the context with everything in it; again is harmless."""
        if self._id is None:
            return
        self.use()
        _context_destroy()
        self._id = None
        for token in (self._token, *self.owned):
            _targets.pop(token, None)
        self._repeater.close()

    @contextlib.contextmanager
    def callback(self, target: Callable[[Any], None]) -> Iterator[int]:
        """A callback target for one request, forgotten afterwards."""
        self.use()
        token = next(_tokens)
        _targets[token] = target
        try:
            yield token
        finally:
            _targets.pop(token, None)

    def wait_for(self, condition: Callable[[], bool], deadline: float, complaint: Callable[[], str]) -> None:
        """Wait until a condition that the library's threads bring about holds."""
        end = time.monotonic() + deadline
        self.use()
        _flush_io()
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"after {deadline} s: {complaint()}; exceptions {self.exceptions}")
            threading.Event().wait(0.001)

    def channels(self, names: Sequence[str]) -> list[Channel]:
        """Channels that may or may not connect."""
        made = [Channel(self, name) for name in names]
        _flush_io()
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
            token = next(_tokens)
            tokens.append(token)
            _targets[token] = functools.partial(_keep, answers, index)
            code = _get(dbr_type, count, channel.handle, _on_event, ctypes.c_void_p(token))
            if code != ECA_NORMAL:
                answers[index] = Reply(dbr_type, count, b"", code, time.monotonic())
        self.wait_for(
            lambda: len(answers) == len(requests),
            deadline,
            lambda: f"{len(answers)} answers to {len(requests)} gets",
        )
        for token in tokens:
            _targets.pop(token, None)
        return [answers[index] for index in range(len(requests))]


@contextlib.contextmanager
def _environment(settings: Mapping[str, str]) -> Iterator[None]:
    """The library reads the process environment; give it back as it was."""
    before = {key: os.environ.get(key) for key in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value


def _keep(answers: dict[int, Reply], index: int, args: _EventArgs) -> None:
    answers[index] = _reply(args)
