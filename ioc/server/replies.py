"""Answers to the requests of a client: the value of a channel, the end of a put, or why not."""

from __future__ import annotations

from typing import Final

from ioc.records import AccessDenied, PutRefused
from ioc.server import wire
from ioc.server.channel import READABLE, Channel
from ioc.server.dbr import DBR_CLASS_NAME, DBR_STSACK_STRING, CannotConvert
from ioc.server.wire import Command, Message

#: What a client may read: the 35 value types of db_access.h and two special ones.
READABLE_TYPES: Final = frozenset((*range(35), DBR_STSACK_STRING, DBR_CLASS_NAME))


def value_of(message: Message, channel: Channel) -> bytes:
    """Answer a get."""
    notify = message.command == Command.READ_NOTIFY
    if message.data_type not in READABLE_TYPES:
        return wire.error(message, channel.cid, wire.ECA_BADTYPE, f"DBR type {message.data_type}")
    if not channel.rights & READABLE:
        if notify:
            return channel.without_right(message.command, message.data_type, message.elements, message.parameter2)
        return wire.error(message, channel.cid, wire.ECA_NORDACCESS, f"{channel.name} may not be read")
    try:
        payload, elements = channel.read(message.data_type, message.elements)
    except CannotConvert as error:
        if notify:
            return wire.pack(message.command, message.data_type, 0, wire.ECA_GETFAIL, message.parameter2)
        return wire.error(message, channel.cid, wire.ECA_GETFAIL, f"{channel.name}: {error}")
    first = wire.ECA_NORMAL if notify else channel.cid
    return wire.pack(message.command, message.data_type, elements, first, message.parameter2, payload)


def completion(message: Message, status: int) -> bytes:
    """Answer a put with completion."""
    return wire.pack(Command.WRITE_NOTIFY, message.data_type, message.elements, status, message.parameter2)


def failure(message: Message, cid: int, status: int, text: str) -> bytes:
    """Answer a request that failed: a put with completion by its status, as base does, anything else by the reason.

    The Java clients take no other answer to a put with completion; they would wait until their own time is over.
    """
    if message.command == Command.WRITE_NOTIFY:
        return completion(message, status)
    return wire.error(message, cid, status, text)


def refusal_of(message: Message, channel: Channel, refusal: PutRefused) -> bytes:
    """Answer a put that was refused."""
    status = wire.ECA_NOWTACCESS if isinstance(refusal, AccessDenied) else wire.ECA_PUTFAIL
    return failure(message, channel.cid, status, str(refusal))
