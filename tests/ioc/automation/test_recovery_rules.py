"""The rules of the recovery alone: what one scan shows decides, each condition by itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from devices.rules.hv_channel import State
from ioc.automation.recovery_rules import LATCH_SECONDS, Look, Phase, Put, RecoveryRules
from ioc.site.recovery import RecoverySettings

SETTINGS = RecoverySettings(wait=60.0, dwell=10.0, timeout=100.0, calm=600.0, tries=2, per_hour=3)
GOOD = Look(0.0, known=True, state=State.ON, demanded=True, on=True, settled=True, vset=500.0)
OFF: dict[str, Any] = {"state": State.TRIPPED, "on": False, "settled": False, "trips": 1, "reported": True}
CLEARED: dict[str, Any] = OFF | {"state": State.OFF, "reported": False}


class Rules:
    """The rules of a channel that stands at 500 V and is armed, with a clock."""

    def __init__(self) -> None:
        self.rules = RecoveryRules(SETTINGS)
        self.now = 0.0
        self.rules.arm()
        for _ in range(3):
            self.scan()

    def scan(self, seconds: float = 1.0, **shown: Any) -> Put | None:
        """Take one scan after so many seconds, in which everything has been read anew but for what is ``shown``."""
        self.now += seconds
        times = {"now": self.now, "settled_at": self.now, "guarded_at": self.now}
        return self.rules.take(replace(GOOD, **(times | shown)))

    def trip(self, **shown: Any) -> None:
        self.scan(**(OFF | shown))

    def clear(self) -> None:
        """Go on to the moment at which the unit has been cleared."""
        self.trip()
        put = self.scan(61.0, **OFF)
        assert put == Put("CLR:CMD", 1)
        self.rules.done(put, self.now)

    @property
    def phase(self) -> Phase:
        return self.rules.phase


@pytest.mark.parametrize(("waits", "phase"), [(0, Phase.HOLD), (1, Phase.WAIT)])
def test_a_trip_behind_an_objection_needs_a_look_in_order_first(waits: int, phase: Phase) -> None:
    one = Rules()
    one.scan(objection="the interlock LAB:ILK:DOOR:OK is not OK")
    for _ in range(waits):
        one.scan()
    one.trip()  # it came while the door was open, or after that
    assert one.phase is phase


def test_the_order_of_the_puts() -> None:
    one = Rules()
    one.clear()
    low = one.scan(**CLEARED)
    assert low == Put("VSET", 400.0)
    one.rules.done(low, one.now)
    on = one.scan(**CLEARED | {"vset": 400.0})
    assert on == Put("ON", 1)
    one.rules.done(on, one.now)
    after: dict[str, Any] = {"trips": 1, "vset": 400.0}
    assert one.scan(**after) is None
    assert one.scan(9.0, **after) is None
    full = one.scan(**after)
    assert full == Put("VSET", 500.0)
    one.rules.done(full, one.now)
    one.scan(trips=1)
    assert (one.phase, one.rules.left(one.now)) == (Phase.IDLE, 1)


@pytest.mark.parametrize(
    ("shown", "phase"),
    [
        ({"known": False}, Phase.HOLD),
        ({"demanded": False}, Phase.HOLD),
        ({"objection": "group X is in HOLD"}, Phase.HOLD),
        ({"vset": 321.0}, Phase.HOLD),
        ({"on": True}, Phase.HOLD),
        ({"trips": 2}, Phase.HOLD),
        ({"forbidden": "STAT:KILL is YES"}, Phase.LOCKOUT),
        ({"state": State.INHIBITED}, Phase.LOCKOUT),
        ({"state": State.KILLED}, Phase.LOCKOUT),
        ({"state": State.FAULT}, Phase.LOCKOUT),
    ],
)
def test_each_of_these_alone_ends_it_while_it_waits(shown: dict[str, Any], phase: Phase) -> None:
    one = Rules()
    one.trip()
    assert one.phase is Phase.WAIT
    assert one.scan(**OFF | shown) is None
    assert one.phase is phase
    assert one.scan(100.0, **OFF) is None


@pytest.mark.parametrize("shown", [{"known": False}, {"demanded": False}, {"vset": 321.0}, {"on": True}])
def test_each_of_these_alone_ends_it_before_it_is_on(shown: dict[str, Any]) -> None:
    one = Rules()
    one.clear()
    assert one.scan(**CLEARED | shown) is None
    assert one.phase is Phase.HOLD


def test_a_trip_that_the_unit_does_not_report_is_not_recovered_from() -> None:
    one = Rules()
    one.trip(reported=False)
    assert one.scan(61.0, **OFF | {"reported": False}) is None
    assert one.phase is Phase.HOLD


def test_what_was_settled_before_a_put_or_a_change_of_the_setting_does_not_qualify() -> None:
    one = Rules()
    one.rules.other_put("olga to ISET")
    one.scan(settled_at=one.now)  # read before the put
    one.trip()
    assert one.phase is Phase.HOLD
    one = Rules()
    one.scan(vset=700.0, settled_at=one.now)  # changed at the front panel; the voltage is still on its way
    one.trip(vset=700.0)
    assert one.phase is Phase.HOLD


def test_a_channel_that_has_been_off_for_a_while_before_its_trip_does_not_qualify() -> None:
    one = Rules()
    off: dict[str, Any] = {"state": State.OFF, "on": False, "settled": False}
    one.scan(**off)
    one.scan(LATCH_SECONDS + 1.0, **off)
    one.trip()
    assert one.phase is Phase.HOLD


@pytest.mark.parametrize("late", [False, True])
def test_it_waits_for_the_protections_to_be_read_again(late: bool) -> None:
    one = Rules()
    one.trip()
    due = one.now + SETTINGS.wait
    assert one.scan(60.0, **OFF, guarded_at=due - 0.1) is None
    if late:
        assert one.scan(101.0, **OFF, guarded_at=due - 0.1) is None
        assert one.phase is Phase.HOLD
        return
    assert one.phase is Phase.WAIT
    put = one.scan(**OFF)
    assert put == Put("CLR:CMD", 1)
    one.rules.done(put, one.now)
    put = one.scan(**CLEARED)
    assert put == Put("VSET", 400.0)
    one.rules.done(put, one.now)
    low = CLEARED | {"vset": 400.0}
    assert one.scan(**low, guarded_at=one.now) is None
    assert one.scan(**low) == Put("ON", 1)


def test_a_unit_that_stays_tripped_after_the_clear_is_left_alone() -> None:
    one = Rules()
    one.clear()
    assert one.scan(**OFF) is None
    assert one.phase is Phase.RAMP
    one.scan(LATCH_SECONDS + 1.0, **OFF)
    assert one.phase is Phase.HOLD


def test_a_refused_put_ends_it() -> None:
    one = Rules()
    one.trip()
    put = one.scan(61.0, **OFF)
    assert put is not None
    one.rules.refused(put, "no")
    assert (one.phase, one.rules.reason) == (Phase.HOLD, "CLR:CMD was refused: no")
    one.rules.done(put, one.now)
    assert one.scan(**CLEARED) is None
