"""What EDCP frames mean: the messages that ``edcp_protocol`` reads them as."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from devices.iseg.edcp.bits import GeneralDetail, GeneralStatus
from devices.iseg.edcp.items import Item
from devices.model import Value

GENERAL_ID, LOG_ON_ID = 0xC0, 0xD8
"""Items of the older protocol that EDCP modules still use: one byte."""


@dataclass(frozen=True, slots=True)
class Key:
    """What an answer is matched by; ``index`` is the channel, offset or sensor, None where there is none."""

    address: int
    data_id: int
    index: int | None = None


@dataclass(frozen=True, slots=True)
class Data:
    """A value: written by a host, or the answer of a module. ``data_id`` is 0x6xxx in answers for many channels."""

    address: int
    data_id: int
    item: Item
    index: int | None
    value: Value

    @property
    def key(self) -> Key:
        """What matches it with its request."""
        return Key(self.address, self.data_id, self.index)


@dataclass(frozen=True, slots=True)
class Request:
    """A request to read. ``members`` is the mask of a request for many channels (0: all), then ``index`` its offset."""

    address: int
    data_id: int
    item: Item
    index: int | None
    members: int | None = None

    @property
    def key(self) -> Key:
        """What its answer will have, for one value."""
        return Key(self.address, self.data_id, self.index)


@dataclass(frozen=True, slots=True)
class GeneralRequest:
    """A request for the general status."""

    address: int


@dataclass(frozen=True, slots=True)
class General:
    """General status. ``active``: sent unasked because an event happened; a trigger, not to be taken literally."""

    address: int
    status: GeneralStatus
    detail: GeneralDetail
    active: bool

    @property
    def key(self) -> Key:
        """What matches it with its request."""
        return Key(self.address, GENERAL_ID)


@dataclass(frozen=True, slots=True)
class Announcement:
    """A module or crate that is not registered: it came up, was reset, or has not been spoken to for a minute."""

    address: int
    status: GeneralStatus
    device_class: int
    base: int


@dataclass(frozen=True, slots=True)
class Registration:
    """A host registers or releases a module."""

    address: int
    on: bool


class Service(IntEnum):
    """Broadcast services; the low two bits of the byte on the wire are reserved."""

    START = 0xC4
    STOP = 0xC8
    RESET_CAN = 0xCC
    RESET = 0xD0
    BIT_RATE = 0xD4
    MODE = 0xE0
    PROTOCOL = 0xE4
    SET_CHANNELS = 0xE8
    SET_MODULES = 0xEC


@dataclass(frozen=True, slots=True)
class Broadcast:
    """A broadcast to every module; ``payload`` is what follows the service byte."""

    service: Service
    payload: bytes


@dataclass(frozen=True, slots=True)
class Foreign:
    """A frame of other nodes, none of this protocol's business."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unexplained:
    """A frame on an identifier of this protocol that no rule explains; to be counted.

    ``key`` is known when only the value makes no sense: the request that it answers was received, then.
    """

    reason: str
    key: Key | None = None


Message = Data | Request | GeneralRequest | General | Announcement | Registration | Broadcast | Foreign | Unexplained
