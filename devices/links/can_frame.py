"""CAN frames as they go over an adapter, and what error frames say of its controller."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class Frame(NamedTuple):
    """A CAN frame; ``id`` has 11 bits, 29 in ``extended`` ones."""

    id: int
    data: bytes
    extended: bool = False
    remote: bool = False
    error: bool = False


class ControllerState(IntEnum):
    """State of the CAN controller."""

    ACTIVE = 0
    PASSIVE = 1
    OFF = 2


class ControllerError(NamedTuple):
    """What an error frame reports; ``state`` is None when it does not name one."""

    reason: str
    state: ControllerState | None = None


def controller_error(frame: Frame) -> ControllerError:
    """Read an error frame as SocketCAN makes them: classes in the identifier, details in the bytes (can/error.h)."""
    controller = frame.data[1] if frame.id & 0x004 and len(frame.data) > 1 else 0
    if frame.id & 0x040:
        return ControllerError("bus off", ControllerState.OFF)
    if controller & 0x30:
        return ControllerError("controller error passive", ControllerState.PASSIVE)
    if controller & 0x4C or frame.id & 0x100:  # one that only warns (0x04, 0x08) is error active
        text = "controller warning" if controller & 0x0C else "controller back to error active"
        return ControllerError(text, ControllerState.ACTIVE)
    classes = {
        0x020: "no node acknowledges",
        0x008: "protocol violation (wrong bit rate?)",
        0x080: "bus error",
        0x002: "arbitration lost",
        0x001: "transmission timed out",
        0x010: "transceiver",
        0x004: "controller",
    }
    reasons = [text for bit, text in classes.items() if frame.id & bit]
    return ControllerError(", ".join(reasons) or "unspecified error")
