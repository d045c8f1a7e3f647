"""One client's TCP connection, and what all of them share.

What a client does can't touch another: its requests are answered in order, its monitors are queued here, and no more
requests are read while too many of its puts wait for a device.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ioc.access import Policy
from ioc.access.policy import is_own_address
from ioc.records import AccessDenied, PutContext, PutRefused, Record, RecordSet, Value
from ioc.server import wire
from ioc.server.channel import (
    READABLE_TYPES,
    Channel,
    alarm_put,
    completion,
    failure,
    raw_value,
    refusal_of,
    resolve,
    rights_of,
    shown,
    value_of,
)
from ioc.server.connection import READ_AFTER_WRITE, Connection
from ioc.server.dbr import DBR_PUT_ACKS, DBR_PUT_ACKT
from ioc.server.subscription import Subscription, mask_of
from ioc.server.wire import Command, Message

if TYPE_CHECKING:
    from ioc.server.guests import GuestChannel, Guests

log = logging.getLogger("labioc.server")

#: Data type of a search whose client wants to know when the name is not served here (DOREPLY of base).
REPLY_WANTED: Final = 10
#: Bytes in which a client may say who it is.
LONGEST_NAME: Final = 512


@dataclass(slots=True)
class Service:
    """What the circuits of a server have in common, and all that they know of it.

    ``port`` is the TCP port, ``max_array_bytes`` the longest message that is taken. With ``local_only`` other computers
    are not answered.
    """

    records: RecordSet
    policy: Policy
    max_array_bytes: int
    local_only: bool = False
    port: int = 0
    guests: Guests | None = None
    circuits: set[Circuit] = field(default_factory=set)
    past_events: int = 0
    _sids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def knows(self, name: str) -> bool:
        """Whether a channel of this name can be made."""
        if name in self.records or resolve(self.records, name) is not None:
            return True
        return self.guests is not None and self.guests.find(name) is not None

    @property
    def channel_count(self) -> int:
        """Channels that all clients have open."""
        return sum(circuit.channel_count for circuit in self.circuits)

    def forget(self, client: Circuit) -> None:
        """Take note of a connection that has ended."""
        if client in self.circuits:
            self.circuits.discard(client)
            self.past_events += client.events

    @property
    def events(self) -> int:
        """Events for clients since the start."""
        return self.past_events + sum(circuit.events for circuit in self.circuits)

    def new_sid(self) -> int:
        """Return a channel number that no circuit uses."""
        return next(self._sids) & 0xFFFFFFFF


class Circuit(Connection):
    """Serves one connection; made by the listening server for each client."""

    def __init__(self, service: Service) -> None:
        super().__init__(service.max_array_bytes)
        self.service = service
        self.user = self.host = ""
        self.channels: dict[int, Channel] = {}
        self.guests: dict[int, GuestChannel] = {}
        self.subscriptions: dict[int, Subscription] = {}
        self._puts: dict[asyncio.Task[None], tuple[Channel, PutContext]] = {}
        self._busy: dict[Record, asyncio.Task[None]] = {}
        self._of_circuit: dict[int, Callable[[Message], None]] = {
            Command.VERSION: lambda message: None,
            Command.HOST_NAME: self._host_name,
            Command.CLIENT_NAME: self._client_name,
            Command.CREATE_CHAN: self._create,
            Command.EVENTS_OFF: lambda message: self.take_events(False),
            Command.EVENTS_ON: lambda message: self.take_events(True),
            Command.ECHO: self._echo,
            Command.READ_SYNC: self._echo,
            Command.SEARCH: self._search,
        }
        self._of_channel: dict[int, Callable[[Message, Channel], None]] = {
            Command.CLEAR_CHANNEL: self._clear,
            Command.READ_NOTIFY: self._read,
            Command.READ: self._read,
            Command.WRITE: self._write,
            Command.WRITE_NOTIFY: self._write,
            Command.EVENT_ADD: self._event_add,
            Command.EVENT_CANCEL: self._event_cancel,
        }

    # ---- the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the client."""
        super().connection_made(transport)
        self.host = self.address[0]
        if self.service.local_only and not is_own_address(self.host):
            self.close()
            return
        self.service.circuits.add(self)
        self.send(wire.pack(Command.VERSION, 0, wire.PROTOCOL_VERSION, 0, 0))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client; its puts with completion that have not begun are dropped."""
        super().connection_lost(exc)
        self.service.forget(self)
        self._leave_puts()
        for subscription in self.subscriptions.values():
            subscription.channel.record.unsubscribe(subscription.channel.spec.name, subscription)
        self.subscriptions.clear()
        self.channels.clear()
        for guest in self.guests.values():
            guest.close()
        self.guests.clear()

    def _handle(self, message: Message) -> None:
        """Serve one request; a mistake of ours fails this request, not the client's other channels."""
        of_circuit, of_channel = self._of_circuit.get(message.command), self._of_channel.get(message.command)
        number, channel = message.parameter1, self.channels.get(message.parameter1)
        try:
            if of_circuit is not None:
                of_circuit(message)
            elif of_channel is None:
                raise wire.BrokenStream(f"command {message.command} is not one of Channel Access")
            elif channel is not None:
                of_channel(message, channel)
            elif number in self.guests:
                self.guests[number].handle(message)
                if message.command == Command.CLEAR_CHANNEL:
                    self.guests.pop(number).close()
            elif message.command != Command.CLEAR_CHANNEL:
                self.send(wire.error(message, wire.NO_CHANNEL, wire.ECA_BADCHID, "no such channel on this circuit"))
        except wire.BrokenStream:
            raise
        except Exception:
            log.exception("client %s:%d: request %d failed", *self.address, message.command)
            cid = channel.cid if channel is not None else wire.NO_CHANNEL
            self.failed(message, cid, wire.ECA_INTERNAL, "internal error, see the log of the server")

    def failed(self, message: Message, cid: int, status: int, text: str) -> None:
        """Answer a request that failed."""
        self.send(failure(message, cid, status, text))

    @property
    def channel_count(self) -> int:
        """Channels that this client has open."""
        return len(self.channels) + len(self.guests)

    async def finish_puts(self) -> None:
        """Wait for the puts under way; used when the server stops."""
        if self._puts:
            await asyncio.wait(self._puts)

    # ---- requests about the circuit

    def client(self, callback: bool = False) -> PutContext:
        """Return who puts over this connection, as it says and as the socket says."""
        return PutContext(self.user, self.host, self.address, callback)

    def _host_name(self, message: Message) -> None:
        if self._may_say_who(message, "host"):
            self.host = wire.name_of(message.payload) or self.address[0]

    def _client_name(self, message: Message) -> None:
        if self._may_say_who(message, "user"):
            self.user = wire.name_of(message.payload)

    def _may_say_who(self, message: Message, what: str) -> bool:
        """Whether a client may (still) give its name: its channels have been given rights on the strength of it."""
        if self.channels or self.guests:
            reason = f"the {what} name comes before the first channel; this one is ignored"
        elif len(message.payload) > LONGEST_NAME:
            reason = f"a {what} name of {len(message.payload)} bytes is ignored, at most {LONGEST_NAME} are possible"
        else:
            return True
        self.send(wire.error(message, wire.NO_CHANNEL, wire.ECA_INTERNAL, reason))
        return False

    def _echo(self, message: Message) -> None:
        self.send(wire.pack(*message))

    def _search(self, message: Message) -> None:
        name = wire.text_of(message.payload)
        if self.service.knows(name):
            self.send(wire.pack(Command.SEARCH, self.service.port, 0, wire.NO_CHANNEL, message.parameter1))
        elif message.data_type == REPLY_WANTED:
            cid = message.parameter1
            self.send(wire.pack(Command.NOT_FOUND, message.data_type, wire.PROTOCOL_VERSION, cid, cid))

    # ---- channels

    def _create(self, message: Message) -> None:
        name = wire.text_of(message.payload)
        cid = message.parameter1
        target = resolve(self.service.records, name)
        sid = self.service.new_sid()
        if target is None:
            guest = None if self.service.guests is None else self.service.guests.open(self, name, cid, sid)
            if guest is not None:
                self.guests[sid] = guest
            self.send(guest.greeting() if guest else wire.pack(Command.CREATE_CH_FAIL, 0, 0, cid, 0))
            return
        channel = Channel(name, target, cid, sid)
        self.channels[sid] = channel
        channel.rights = rights_of(channel, self.service.policy, self.client())
        self.send(
            wire.pack(Command.ACCESS_RIGHTS, 0, 0, cid, channel.rights)
            + wire.pack(Command.CREATE_CHAN, channel.native, channel.count, cid, sid)
        )

    def update_rights(self) -> None:
        """Report the access rights that have changed; monitors show that a value may not be read, or may again."""
        client = self.client()
        for channel in self.channels.values():
            before = channel.rights
            channel.rights = rights_of(channel, self.service.policy, client)
            if channel.rights != before:
                self.send(wire.pack(Command.ACCESS_RIGHTS, 0, 0, channel.cid, channel.rights))
                for subid in channel.subscriptions:
                    self.subscriptions[subid].send_now()
        for guest in self.guests.values():
            guest.update_rights()

    def _clear(self, message: Message, channel: Channel) -> None:
        del self.channels[message.parameter1]
        for subid in tuple(channel.subscriptions):
            self._drop(subid)
        self._leave_puts(channel)
        self.send(wire.pack(Command.CLEAR_CHANNEL, 0, 0, message.parameter1, message.parameter2))

    # ---- reading

    def _read(self, message: Message, channel: Channel) -> None:
        put = self._busy.get(channel.record)
        if put is None:
            self.send(value_of(message, channel))
        else:
            self._answer_after(put, message, channel)

    def _answer_after(self, put: asyncio.Task[None], message: Message, channel: Channel) -> None:
        """Answer a get when this client's own put to the record is done, or soon anyway."""
        answered = False

        def answer(*_: object) -> None:
            nonlocal answered
            if not answered and self._transport is not None:
                answered = True
                timer.cancel()
                self.send(value_of(message, channel))

        timer = asyncio.get_running_loop().call_later(READ_AFTER_WRITE, answer)
        put.add_done_callback(answer)

    # ---- monitors

    def _event_add(self, message: Message, channel: Channel) -> None:
        mask = mask_of(message.payload)
        if message.data_type not in READABLE_TYPES or mask & 0x0F == 0:
            self.send(wire.error(message, channel.cid, wire.ECA_BADTYPE, "bad DBR type or event mask"))
            return
        subid = message.parameter2
        self._drop(subid)
        subscription = Subscription(self, channel, message.data_type, message.elements, mask, subid)
        self.subscriptions[subid] = subscription
        channel.subscriptions.add(subid)
        channel.record.subscribe(channel.spec.name, subscription)
        subscription.send_now()

    def _event_cancel(self, message: Message, channel: Channel) -> None:
        self._drop(message.parameter2)
        self.send(wire.pack(Command.EVENT_ADD, message.data_type, 0, channel.cid, message.parameter2))

    def _drop(self, subid: int) -> None:
        subscription = self.subscriptions.pop(subid, None)
        if subscription is not None:
            self._held.pop(subscription, None)
            subscription.channel.subscriptions.discard(subid)
            subscription.channel.record.unsubscribe(subscription.channel.spec.name, subscription)

    # ---- writing

    def _write(self, message: Message, channel: Channel) -> None:
        callback = message.command == Command.WRITE_NOTIFY
        context = self.client(callback)
        record, spec, policy = channel.record, channel.spec, self.service.policy
        of_alarm = message.data_type in (DBR_PUT_ACKT, DBR_PUT_ACKS)
        denied = policy.may_acknowledge(record, context) if of_alarm else policy.may_put(record, spec.name, context)
        value: Value | None = None
        try:
            if denied is not None:
                raise AccessDenied(denied)
            if of_alarm:
                alarm_put(channel, message.data_type, message.payload, context)
            else:
                value = channel.convert_put(message.data_type, message.elements, message.payload)
                if record.concerns_device(spec):
                    record.check_device_put(spec, value)
                    self._start_put(message, channel, value, context)
                    return
                record.put_by(spec, value, context)
        except PutRefused as refusal:
            asked = raw_value(message.data_type, message.payload) if value is None else value
            self.send(refusal_of(message, channel, refusal))
            record.source.refused(record, spec.name, shown(asked), context, str(refusal))
            return
        if callback:
            self.send(completion(message, wire.ECA_NORMAL))

    def _start_put(self, message: Message, channel: Channel, value: Value, context: PutContext) -> None:
        task = asyncio.get_running_loop().create_task(
            self._put_device(message, channel, value, context), name=f"put {channel.name}"
        )
        self._puts[task] = channel, context
        self._busy[channel.record] = task
        self.keep(task)
        task.add_done_callback(lambda done: self._put_done(done, channel.record))

    def _leave_puts(self, left: Channel | None = None) -> None:
        """Drop the puts with completion that have not begun, those of one channel or all: their client has left."""
        for channel, context in self._puts.values():
            if context.callback and left in (None, channel):
                context.cancelled.set()

    def _put_done(self, task: asyncio.Task[None], record: Record) -> None:
        self._puts.pop(task, None)
        if self._busy.get(record) is task:
            del self._busy[record]

    async def _put_device(self, message: Message, channel: Channel, value: Value, context: PutContext) -> None:
        try:
            await channel.record.put_device(channel.spec, value, context)
        except PutRefused as refusal:
            self.send(refusal_of(message, channel, refusal))  # the put path has shown the reason in PUT:MSG
        except Exception:
            log.exception("put to %s failed", channel.name)
            self.failed(message, channel.cid, wire.ECA_PUTFAIL, f"{channel.name}: internal error")
        else:
            if context.callback:
                self.send(completion(message, wire.ECA_NORMAL))
