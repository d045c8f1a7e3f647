"""A channel: one field of a record as one client sees it, with its modifiers and filters; and the answers about it."""

from __future__ import annotations

import json
import math
import re
import struct
from dataclasses import dataclass
from typing import Final

import caproto as ca
from caproto import parse_channel_filter

from ioc.access import Policy
from ioc.records import AccessDenied, FieldSpec, PutContext, PutRefused, Record, RecordSet, Value, fields_of
from ioc.records.analog import exceeds
from ioc.records.convert import DBR_CHAR, DBR_STRING, NATIVE, STRING_SIZE
from ioc.records.fieldtable import LINK_TYPES
from ioc.records.put import text_of
from ioc.records.status import DBE_LOG, DBE_VALUE, EPICS_EPOCH
from ioc.server import wire
from ioc.server.dbr import (
    CODES,
    DBR_CLASS_NAME,
    DBR_PUT_ACKS,
    DBR_PUT_ACKT,
    DBR_STSACK_STRING,
    TIME,
    CannotConvert,
    element_size,
    encode,
)
from ioc.server.wire import Command, Message

_NAME: Final = re.compile(r"^(?P<record>[^.\[{$]+)(?:\.(?P<field>[A-Z0-9_]*))?(?P<long>\$)?(?P<filter>[\[{].*)?$")


#: Bytes of a link as a long string (PVLINK_STRINGSZ of base).
LINK_SIZE: Final = 1024
#: Access rights of a channel (CA_PROTO_ACCESS_RIGHT_READ and _WRITE of caProto.h).
READABLE: Final = 1
WRITABLE: Final = 2
#: What a client may read: the 35 value types of db_access.h and two special ones.
READABLE_TYPES: Final = frozenset((*range(35), DBR_STSACK_STRING, DBR_CLASS_NAME))


@dataclass(frozen=True, slots=True)
class Target:
    """What a channel name stands for."""

    record: Record
    spec: FieldSpec
    long_string: bool
    filters: ca.ChannelFilter | None


def resolve(records: RecordSet, name: str) -> Target | None:
    """Find the record and field of a channel name, None when there is none.

    Names are ``RECORD``, ``RECORD.FIELD``, with ``$`` for a long string and a JSON filter or array slice behind it.
    """
    match = _NAME.match(name)
    if match is None:
        return None
    record = records.find(match["record"])
    if record is None:
        return None
    spec = fields_of(record.rtyp).get(match["field"] or "VAL")
    if spec is None:
        return None
    long_string = match["long"] is not None
    if long_string and NATIVE.get(record.field_type(spec)[0]) != DBR_STRING:
        return None
    filters = None
    if match["filter"]:
        try:
            filters = _parse_filter(match["filter"])
        except (ca.CaprotoError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None  # to a client, a filter that is wrong or not offered is a name that is not served
        if filters.sync is not None:
            return None
    return Target(record, spec, long_string, filters)


def _parse_filter(text: str) -> ca.ChannelFilter:
    """Read a filter; caproto knows deadbands as ``{"abs": 1.5}`` only, base also as ``{"m": "abs", "d": 1.5}``.

    caproto overlooks options of ``ts``, which ask for the time in place of the value; they are refused.
    """
    if text == "[]":
        raise ValueError("a slice of nothing")
    if text.startswith("{"):
        wanted = json.loads(text)
        if any(not isinstance(options, dict) for options in wanted.values()) or wanted.get("ts"):
            raise ValueError("an option that is not offered")
        deadband = wanted.get("dbnd")
        if isinstance(deadband, dict) and "d" in deadband:
            wanted["dbnd"] = {deadband.get("m", "abs"): deadband["d"]}
        text = json.dumps(wanted)
    return parse_channel_filter(text)


class Channel:
    """One channel of one circuit: reads and writes of its field in any DBR type.

    ``native`` is the plain DBR type and ``count`` the number of elements that is reported to the client, as are
    ``rights``.
    """

    __slots__ = (
        *("cid", "count", "filters", "long_string", "name", "native", "record", "rights", "sid", "spec"),
        "subscriptions",
    )

    def __init__(self, name: str, target: Target, cid: int, sid: int) -> None:
        self.name = name
        self.record = target.record
        self.spec = target.spec
        self.long_string = target.long_string
        self.filters = target.filters
        self.cid = cid
        self.sid = sid
        self.rights = READABLE
        self.subscriptions: set[int] = set()
        dbf, count = target.record.field_type(target.spec)
        self.native = NATIVE[dbf]
        if target.long_string:
            self.native = DBR_CHAR
            count = self.long_size()
        if target.filters is not None and target.filters.arr is not None:
            count = len(self._slice(count))
        self.count = count

    def long_size(self) -> int:
        """Bytes that a long string is served with, whatever its present length."""
        if self.spec.dbf in LINK_TYPES:
            return LINK_SIZE
        size = getattr(self.record, "size", 0) if self.spec.name in ("VAL", "OVAL") else 0
        return size or self.spec.size

    def _slice(self, count: int) -> range:
        arr = self.filters.arr if self.filters is not None else None
        if arr is None or (self.record.field_type(self.spec)[1] == 1 and not self.long_string):
            return range(count)  # base, too, leaves what is no array alone
        start, step, end = arr.s or 0, arr.i or 1, arr.e if arr.e is not None else -1
        start += count if start < 0 else 0
        end += count if end < 0 else 0
        return range(max(start, 0), min(end, count - 1) + 1, max(step, 1))

    def read(self, dbr: int, count: int) -> tuple[bytes, int]:
        """Encode the field; return the payload and the number of elements in it.

        A count of 0 asks for as many as there are. What comes from a device always has its full declared length, since
        several clients can't take less; a soft record has what was put to it, as in a C IOC. Raises CannotConvert.
        """
        elements = min(count, self.count)
        if not count:
            fixed = self.record.device is not None and self.spec.name == "VAL"
            elements = self.count if fixed else self.record.present_count(self.spec, self.long_string)
        if dbr >= DBR_PUT_ACKT:
            return encode(self.record, self.spec, dbr, 1, False), 1
        if self.filters is None:
            return encode(self.record, self.spec, dbr, elements, self.long_string), elements
        return self._read_filtered(dbr, elements)

    def without_right(self, command: int, dbr: int, count: int, number: int) -> bytes:
        """Return the answer to a client that may not read: the status, with zeros for the value as base has them."""
        try:
            payload, elements = self.read(dbr, count)
        except CannotConvert:
            payload, elements = b"", 0
        return wire.pack(command, dbr, elements, wire.ECA_NORDACCESS, number, bytes(len(payload)))

    def _read_filtered(self, dbr: int, elements: int) -> tuple[bytes, int]:
        kind, plain = divmod(dbr, 7)
        full = self.record.present_count(self.spec, self.long_string)
        payload = encode(self.record, self.spec, dbr, full, self.long_string)
        chosen = self._slice(full)[:elements]
        size = element_size(plain)
        head = len(payload) - size * full
        if len(chosen) != full:
            body = b"".join(payload[head + i * size : head + (i + 1) * size] for i in chosen)
            payload = payload[:head] + body
        if self.filters is not None and self.filters.ts and kind == TIME:
            now = self.record.database.time()
            stamp = struct.pack(">II", int(now) - EPICS_EPOCH, int(now % 1 * 1e9))
            payload = payload[:4] + stamp + payload[12:]
        return payload, len(chosen)

    def passes(self, last: float | None, mask: int) -> tuple[bool, float | None]:
        """Whether an event gets through the deadband filter, and the value to compare the next one with."""
        deadband = self.filters.dbnd if self.filters is not None else None
        value = self.record.val
        if deadband is None or not isinstance(value, (int, float)):
            return True, last
        width = float(deadband.d)
        if deadband.m == "rel" and last is not None:
            width = abs(last) * width / 100.0
        if last is None or exceeds(last, value, width):
            return True, float(value)
        return bool(mask & ~(DBE_VALUE | DBE_LOG)), last

    def convert_put(self, dbr: int, count: int, payload: bytes) -> Value:
        """Convert what a client sent to the type of the field. Raises PutRefused."""
        if dbr not in range(7):
            raise PutRefused(f"{self.name}: a put needs a plain type, not DBR type {dbr}")
        try:
            elements = decode(payload, dbr, count)
        except CannotConvert as error:
            raise PutRefused(f"{self.name}: {error}") from None
        if self.long_string and dbr in (DBR_CHAR, DBR_STRING):
            text = b"".join(item if isinstance(item, bytes) else bytes((int(item),)) for item in elements)
            return self.record.convert_long(self.spec, text)
        if self.record.field_type(self.spec)[1] > 1:
            return self.record.convert_array(self.spec, elements)
        if not elements:
            raise PutRefused(f"{self.name}: a put needs at least one element")
        return self.record.convert(self.spec, elements[0])


def alarm_put(channel: Channel, dbr: int, payload: bytes, context: PutContext) -> None:
    """Take an acknowledge (DBR_PUT_ACKS) or the transient flag (DBR_PUT_ACKT). Raises PutRefused."""
    if len(payload) < 2:
        raise PutRefused(f"{channel.name}: an acknowledge has two bytes")
    channel.record.check_enabled(channel.spec)
    (value,) = struct.unpack_from(">H", payload)
    record, name = channel.record, "ACKS" if dbr == DBR_PUT_ACKS else "ACKT"
    before = record.get(name)
    if dbr == DBR_PUT_ACKS:
        record.acknowledge(value)
    else:
        record.acknowledge_transient(bool(value))
    record.source.applied(record, fields_of(record.rtyp)[name], before, value, context)


def rights_of(channel: Channel, policy: Policy, client: PutContext) -> int:
    """Return the access rights that are reported to the client, READABLE and WRITABLE.

    The value channel of an input counts as writable for those who may acknowledge its alarm: alarm handlers do so
    through it. A put of a value is refused all the same.
    """
    record, field = channel.record, channel.spec.name
    rights = READABLE if policy.may_read(record, field, client) else 0
    if channel.spec.nomod:
        return rights
    by_value = field == "VAL" and not record.is_output
    denied = policy.may_acknowledge(record, client) if by_value else policy.may_put(record, field, client)
    return rights if denied is not None else rights | WRITABLE


def decode(payload: bytes, plain: int, count: int) -> list[float | int | bytes]:
    """Split the payload of a put into its elements; a DBR_STRING element is its bytes.

    A single string may be shorter than 40 bytes, as libca sends it. Raises CannotConvert when bytes are missing.
    """
    if plain == DBR_STRING:
        if count == 1:
            return [payload[:STRING_SIZE]]
        if len(payload) < STRING_SIZE * (count - 1) + 1:
            raise CannotConvert(f"{count} strings do not fit into {len(payload)} bytes")
        return [payload[i * STRING_SIZE : (i + 1) * STRING_SIZE] for i in range(count)]
    layout = f">{count}{CODES[plain]}"
    if len(payload) < struct.calcsize(layout):
        raise CannotConvert(f"{count} elements do not fit into {len(payload)} bytes")
    return list(struct.unpack_from(layout, payload))


def raw_value(dbr: int, payload: bytes) -> object:
    """First element of a put as the client sent it, for the log; None when there is none."""
    try:
        first = decode(payload, dbr, 1)[0] if dbr in range(7) else None
    except CannotConvert:
        return None
    return text_of(first) if isinstance(first, bytes) else first


def shown(value: object) -> str:
    """Text of a value for the log and for PUT:MSG."""
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.10g}"
    return repr(value) if isinstance(value, (str, bytes)) else str(value)


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
