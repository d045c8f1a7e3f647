"""PVs of caproto groups on the connections of this server: read, written and monitored as caproto does it.

What a PV does stays with its group: getters, putters, startup, scan and shutdown hooks, alarms, ``record=``. The server
adds who may write, the journal of puts, and that a slow client loses old events, not new ones.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import caproto as ca
from caproto import ChannelData, ChannelType, RecordModifiers
from caproto._commands import extract_data, extract_metadata
from caproto._dbr import _LongStringChannelType
from caproto.asyncio.server import AsyncioAsyncLayer
from caproto.server import PVGroup
from caproto.server.common import Context, SubscriptionSpec

from ioc.access import Policy
from ioc.records import PutContext, PutRefused
from ioc.server import wire
from ioc.server.channel import READABLE, WRITABLE, completion
from ioc.server.connection import READ_AFTER_WRITE
from ioc.server.subscription import mask_of
from ioc.server.wire import Command, Message

if TYPE_CHECKING:
    from ioc.server.circuit import Circuit

log = logging.getLogger("labioc.server")

_NO_FILTER = ca.ChannelFilter(ts=False, dbnd=None, arr=None, sync=None)

END_SECONDS = 0.5
"""How long puts under way, and then the hooks for the end, may take when the server stops."""

Put = Callable[[str, str, PutContext, str | None, Callable[[], Awaitable[None]]], Awaitable[None]]
"""Applies a put by calling the last argument, and notes it: PV, value in words, who, why not. Raises PutRefused."""


class _Database(Context):  # type: ignore[misc]
    """caproto's way from names to PVs, fields and hooks, without its server."""

    def __init__(self, groups: Sequence[PVGroup]) -> None:
        self.pvdb = {name: pv for group in groups for name, pv in group.pvdb.items()}


class Guests:
    """The PVs of all groups of a site; ``start`` runs their hooks, ``stop`` those for the end."""

    def __init__(self, groups: Sequence[PVGroup], policy: Policy, put: Put) -> None:
        self.policy, self.put = policy, put
        self._groups = groups
        self._database = _Database(groups)
        self._tasks: list[asyncio.Task[None]] = []
        self.puts: set[asyncio.Task[None]] = set()
        """Puts of all clients that are under way."""

    def find(self, name: str) -> ChannelData | None:
        """Return the PV, or the field of a record, of this name; there are no filters."""
        try:
            entry: ChannelData = self._database[name]
        except (KeyError, ValueError):
            return None
        modifiers = ca.parse_record_field(name).modifiers
        return None if getattr(modifiers, "filter_", None) is not None else entry

    def start(self) -> None:
        """Run the startup and scan hooks, each in a task; one that fails is logged and disturbs no other."""
        layer = AsyncioAsyncLayer()
        hooks = {f"{type(one).__name__}.__ainit__": one.__ainit__ for one in self._groups if hasattr(one, "__ainit__")}
        for name, hook in (hooks | self._database.startup_methods).items():
            self._tasks.append(asyncio.create_task(_watched(name, hook(layer)), name=name))

    async def stop(self) -> None:
        """End the hooks and run those for the end."""
        await _finished(self.puts, END_SECONDS)
        for task in self._tasks:
            task.cancel()
        layer = AsyncioAsyncLayer()
        hooks = self._database.shutdown_methods.items()
        ending = [asyncio.create_task(_watched(name, hook(layer)), name=name) for name, hook in hooks]
        await _finished([*self._tasks, *ending], END_SECONDS)
        self._tasks.clear()

    def open(self, connection: Circuit, name: str, cid: int, sid: int) -> GuestChannel | None:
        """Return a channel of a client, None when no group has this name."""
        entry = self.find(name)
        return None if entry is None else GuestChannel(self, connection, entry, name, cid, sid)


async def _finished(tasks: Collection[asyncio.Task[None]], seconds: float) -> None:
    """Wait for tasks, and cancel those that take longer."""
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=seconds)
        for task in late:
            log.warning("%s: does not end, it is cancelled", task.get_name())
            task.cancel()


async def _watched(name: str, work: Awaitable[None]) -> None:
    try:
        await work
    except Exception:
        log.exception("%s: the hook has failed, the rest goes on", name)


class GuestChannel:
    """One channel of one client to a PV of a group. Its requests are answered in their order."""

    def __init__(self, guests: Guests, connection: Circuit, entry: ChannelData, name: str, cid: int, sid: int) -> None:
        self.cid = cid
        self.connection = connection
        self.entry = entry
        self._guests = guests
        self._name = name
        self._sid = sid
        parsed = ca.parse_record_field(name)
        self._field = parsed.field or ""
        self._long = name.endswith("$") and RecordModifiers.long_string in (parsed.modifiers or ())
        self._monitors: dict[int, _Monitor] = {}
        self._last: asyncio.Task[None] | None = None
        self._puts: dict[asyncio.Task[None], PutContext] = {}
        self._closed = False
        self._rights = 0

    def greeting(self) -> bytes:
        """Return the answer to the request for the channel: rights, type and number of elements."""
        self._rights = self._rights_now()
        kind, count = self.entry.data_type, self.entry.max_length
        if self._long and kind == ChannelType.STRING:
            kind, count = ChannelType.CHAR, self.entry.long_string_max_length
        return wire.pack(Command.ACCESS_RIGHTS, 0, 0, self.cid, self._rights) + wire.pack(
            Command.CREATE_CHAN, int(kind), count, self.cid, self._sid
        )

    def _rights_now(self) -> int:
        client, policy = self.connection.client(), self._guests.policy
        rights = int(self.entry.check_access(client.host, client.user))
        if not policy.may_read_group(self._field, client):
            rights &= ~READABLE
        if policy.may_put_group(self._field, client) is not None:
            rights &= ~WRITABLE
        return rights

    @property
    def readable(self) -> bool:
        """Whether the client may read the PV."""
        return bool(self._rights & READABLE)

    def update_rights(self) -> None:
        """Report the access rights if they have changed; monitors show that a value may not be read, or may again."""
        before, self._rights = self._rights, self._rights_now()
        if self._rights != before:
            self.connection.send(wire.pack(Command.ACCESS_RIGHTS, 0, 0, self.cid, self._rights))
            for monitor in self._monitors.values():
                self._follow(self._begin, monitor.message)

    def handle(self, message: Message) -> None:
        """Serve one request of the channel, after those before it."""
        match message.command:
            case Command.WRITE | Command.WRITE_NOTIFY:
                self._put(message, self.connection.client(message.command == Command.WRITE_NOTIFY))
            case Command.READ | Command.READ_NOTIFY:
                self._follow(self._read, message)
            case Command.EVENT_ADD:
                self._follow(self._subscribe, message)
            case Command.EVENT_CANCEL:
                self._follow(self._cancel, message)
            case Command.CLEAR_CHANNEL:
                self.connection.send(wire.pack(Command.CLEAR_CHANNEL, 0, 0, message.parameter1, message.parameter2))

    def close(self) -> None:
        """Forget the channel: its monitors end, reads that wait are dropped, puts that have begun are finished.

        A put with completion that has not begun is given up, as for a record.
        """
        self._closed = True
        for context in self._puts.values():
            if context.callback:
                context.cancelled.set()
        for monitor in self._monitors.values():
            monitor.end()
        self._monitors.clear()

    def _put(self, message: Message, context: PutContext) -> None:
        task = asyncio.get_running_loop().create_task(self._write(message, context), name=f"put {self._name}")
        self._puts[task] = context
        task.add_done_callback(self._puts.pop)
        self._guests.puts.add(task)
        task.add_done_callback(self._guests.puts.discard)
        self.connection.keep(task)

    def _follow(self, work: Callable[[Message], Awaitable[None]], message: Message) -> None:
        """Do something when all before it is done; a put is waited for, but not for long."""
        before, puts = self._last, set(self._puts)

        async def after() -> None:
            if before is not None:
                await asyncio.wait([before])
            if puts:
                await asyncio.wait(puts, timeout=READ_AFTER_WRITE)
            if self._closed:
                return
            try:
                await work(message)
            except Exception as error:
                self._failed(message, wire.ECA_GETFAIL, error)

        self._last = asyncio.get_running_loop().create_task(after(), name=self._name)
        self.connection.keep(self._last)

    def _kind(self, dbr: int) -> Any:
        """Return the type that a value is read as. Raises ValueError."""
        if self._long:
            with suppress(ValueError):
                return _LongStringChannelType(dbr)
        return ChannelType(dbr)

    async def _read(self, message: Message) -> None:
        if not self.readable:
            self.connection.failed(message, self.cid, wire.ECA_NORDACCESS, f"{self._name} may not be read")
            return
        connection = self.connection
        metadata, data = await self.entry.auth_read(
            connection.host, connection.user, self._kind(message.data_type), user_address=connection.address
        )
        if message.elements:
            data = data[: message.elements]
        arguments = {
            "data": data, "data_type": message.data_type, "data_count": self.entry.calculate_length(data),
            "ioid": message.parameter2, "metadata": metadata,
        }  # fmt: skip
        if message.command == Command.READ_NOTIFY:
            answer = ca.ReadNotifyResponse(status=1, **arguments)
        else:
            answer = ca.ReadResponse(sid=self.cid, **arguments)
        connection.send(bytes(answer))

    async def _write(self, message: Message, context: PutContext) -> None:
        connection = self.connection
        denied = self._guests.policy.may_put_group(self._field, context)
        try:
            data = extract_data(message.payload, message.data_type, message.elements)
            metadata = extract_metadata(message.payload, message.data_type)

            async def apply() -> None:
                await self.entry.auth_write(
                    connection.host, connection.user, data, message.data_type, metadata, user_address=connection.address
                )

            await self._guests.put(self._name, _shown(data), context, denied, apply)
        except PutRefused as refusal:
            status = wire.ECA_PUTFAIL if denied is None else wire.ECA_NOWTACCESS
            self.connection.failed(message, self.cid, status, str(refusal))
        except Exception as error:
            self._failed(message, wire.ECA_PUTFAIL, error)
        else:
            if context.callback:
                connection.send(completion(message, wire.ECA_NORMAL))

    async def _subscribe(self, message: Message) -> None:
        monitor = _Monitor(self, self._kind(message.data_type), message)
        if (old := self._monitors.pop(message.parameter2, None)) is not None:
            old.end()
        self._monitors[message.parameter2] = monitor
        await monitor.begin()

    async def _begin(self, message: Message) -> None:
        """Have a monitor send what there is now, unless it has ended."""
        if (monitor := self._monitors.get(message.parameter2)) is not None:
            await monitor.begin()

    async def _cancel(self, message: Message) -> None:
        if (monitor := self._monitors.pop(message.parameter2, None)) is not None:
            monitor.end()
        self.connection.send(wire.pack(Command.EVENT_ADD, message.data_type, 0, self.cid, message.parameter2))

    def _failed(self, message: Message, status: int, error: Exception) -> None:
        log.info("%s: request %d failed: %s: %s", self._name, message.command, type(error).__name__, error)
        self.connection.failed(message, self.cid, status, f"{self._name}: {type(error).__name__}: {error}")


class _Monitor:
    """One subscription of a client. It is the queue that caproto puts updates into, and sends them on at once."""

    def __init__(self, channel: GuestChannel, kind: Any, message: Message) -> None:
        self._channel = channel
        self.message = message
        self._spec = SubscriptionSpec(channel.entry, kind.name, mask_of(message.payload), _NO_FILTER)
        self._ended = False

    async def begin(self) -> None:
        """Send the present value, or that it may not be read, and every update from now on."""
        await self._channel.entry.subscribe(self, self._spec, self)
        if not self._channel.readable:
            denied = Command.EVENT_ADD, self.message.data_type, 0, wire.ECA_NORDACCESS, self.message.parameter2
            self._channel.connection.send_event(self, wire.pack(*denied))

    def end(self) -> None:
        """Send nothing any more."""
        self._ended = True
        self._channel.entry._queues.pop(self, None)

    async def put(self, update: Any) -> None:
        """Take an update from the PV."""
        if self._ended or not self._channel.readable:
            return
        count = self.message.elements or len(update.values)
        event = ca.EventAddResponse(
            data=update.values[:count], data_type=self.message.data_type, data_count=min(count, len(update.values)),
            status=1, subscriptionid=self.message.parameter2, metadata=update.metadata,
        )  # fmt: skip
        self._channel.connection.send_event(self, bytes(event))


def _shown(data: Any) -> str:
    """Write what a client puts for the journal."""
    items = [one.decode("latin-1") if isinstance(one, bytes) else one for one in list(data)[:4]]
    text = ", ".join(f"{one:.10g}" if isinstance(one, float) else str(one) for one in items)
    return text if len(data) <= 4 else f"{text}, ... ({len(data)} values)"
