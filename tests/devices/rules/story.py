"""A channel whose readings a test tells one after the other."""

from __future__ import annotations

from devices.caen.protocol import Profile
from devices.caen.status import layout_of
from devices.model import Level, Reading
from devices.rules.hv_channel import HvChannel
from devices.rules.hv_trip import Conditions, Sample

OFF = Conditions()

ON = Conditions(on=True)

UP = Conditions(on=True, up=True)

DOWN = Conditions(down=True)

TRIPPED = Conditions(tripped=True)


def conditions(word: int, profile: Profile) -> Conditions:
    return layout_of("", profile).conditions(word)


class Story:
    """A channel and a clock: each look is one second later than the one before."""

    def __init__(self, ramp_down: float | None = 50.0, **settings: float) -> None:
        self.channel = HvChannel(**settings)
        self.ramp_down = ramp_down
        self.trip_time: float | None = None
        self.now = 0.0

    def look(
        self, conditions: Conditions, vmon: float | None = 1500.0, imon: float | None = 10.0, dt: float = 1.0
    ) -> dict[str, Reading]:
        self.now += dt
        return self.channel.update(
            Sample(
                1_700_000_000.0 + self.now,
                self.now,
                conditions,
                vmon,
                imon,
                1500.0,
                100.0,
                0.01,
                self.ramp_down,
                self.trip_time,
            )
        )  # fmt: skip

    def looks(self, count: int, conditions: Conditions, **values: float) -> dict[str, Reading]:
        for _ in range(count - 1):
            self.look(conditions, **values)
        return self.look(conditions, **values)


def shown(reading: Reading) -> tuple[object, Level]:
    return reading.value, reading.level
