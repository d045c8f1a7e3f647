"""A simulated crate controller on the segment of its modules: status, fan, power; no bus, no clock.

Source: iseg CAN EDCP Programmers guide 2.4, crate items. Without power the modules behind it are dead.
"""

from __future__ import annotations

from devices.iseg.edcp.bits import CrateStatus, GeneralStatus
from devices.iseg.edcp.protocol import CRATE, Data, Registration, Request, announcement, answer, decode
from devices.links.can_frame import Frame

_ANSWER_ID = 0x604
_DEVICE_CLASS = 0x2E


class SimulatedCrate:
    """The controller; ``power`` and ``fan`` (%) may be set by a test. ``registered``: does not announce itself."""

    __slots__ = ("_announce", "fan", "power", "registered")

    def __init__(self) -> None:
        self.power, self.registered, self.fan, self._announce = True, True, 35.0, 0.0

    def step(self, dt: float) -> list[Frame]:
        """Advance by dt seconds and return the announcement when one is due."""
        self._announce -= dt
        if self.registered or self._announce > 0:
            return []
        self._announce = 1.0
        return [announcement(CRATE, GeneralStatus(0), _DEVICE_CLASS)]

    def respond(self, frame: Frame) -> list[Frame]:
        """Return the answers to one frame; nothing when it is not for a crate controller."""
        if frame.id not in (0x600, 0x601):
            return []
        values = {
            "CrateStatus": int(CrateStatus.ENABLED | self.power * CrateStatus.POWER_ON),
            "FanSpeed": self.fan,
            "CratePower": int(self.power),
        }
        match decode(frame):
            case Registration(on=on):
                self.registered = on
            case Request(item=item) if item.name in values:
                return [Frame(_ANSWER_ID, answer(CRATE, item, values[item.name]).data)]
            case Data(item=item, value=int(value) | float(value)) if item.name == "CratePower":
                self.power = bool(value)
            case Data(item=item, value=int(value) | float(value)) if item.name == "FanSpeed":
                self.fan = float(value)
        return []
