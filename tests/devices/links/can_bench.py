"""An adapter that does what a test says, and a listener."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import can

from devices.errors import LinkDown
from devices.links.can_bus import join
from devices.links.can_frame import Frame


@dataclass
class Ear:
    address: int
    frames: list[Frame] = field(default_factory=list)
    stamps: list[float] = field(default_factory=list)
    lost: list[LinkDown] = field(default_factory=list)

    @property
    def identifiers(self) -> frozenset[int]:
        return frozenset(base | self.address << 3 | read for base in (0, 0x200) for read in (0, 1))

    def received(self, frame: Frame, stamp: float) -> None:
        self.frames.append(frame)
        self.stamps.append(stamp)

    def bus_lost(self, error: LinkDown) -> None:
        self.lost.append(error)


class Adapter(can.BusABC):
    """Does what a test tells it to; ``plan`` is called for each receive."""

    def __init__(self, channel, **kwargs):
        super().__init__(channel=channel, **kwargs)
        self.sent: list[can.Message] = []
        self.closed = False
        self.controller = can.BusState.ACTIVE

    def plan(self, timeout):
        time.sleep(timeout)

    def _recv_internal(self, timeout):
        return self.plan(timeout), True

    def send(self, msg, timeout=None):
        self.sent.append(msg)

    def hold_up(self):
        """Have what is sent wait; returns the event that lets it go on, and the data that went."""
        gate, sent = threading.Event(), []

        def hold(msg, timeout=None):
            gate.wait(5)
            sent.append(bytes(msg.data))

        self.send = hold
        return gate, sent

    @property
    def state(self):
        return self.controller

    def shutdown(self):
        super().shutdown()
        self.closed = True


OPTIONS = {"interface": "virtual", "channel": "fake"}


async def opened(name="main", address=5):
    ear = Ear(address)
    return await join(name, OPTIONS, ear), ear


def threads():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("can ")]
