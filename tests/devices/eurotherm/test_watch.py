"""Alarms of a furnace that depend on more than one reading."""

import pytest

from devices.eurotherm.watch import FINE, FurnaceWatch
from devices.model import Cause, Level


def watched(*temps: float | None) -> FurnaceWatch:
    """A furnace whose setpoint stands at 300 C and whose temperature is read every ten seconds."""
    watch = FurnaceWatch({"deviation": (2.0, 5.0), "slope_limit": 15.0, "settle": 0.0})
    for n, temp in enumerate(temps):
        watch.observe(10.0 * n, temp, 300.0, 50.0, True)
    return watch


@pytest.mark.parametrize(("sign", "cause"), [(1, Cause.HIHI), (-1, Cause.LOLO)])
def test_a_slope_beyond_its_limit_is_MAJOR_in_either_direction(sign: int, cause: Cause):
    watch = watched(*(300.0 + sign * 10.0 * n for n in range(7)))
    assert watch.slope == pytest.approx(sign * 60.0)
    assert watch.slope_alarm == (Level.MAJOR, cause)
    assert watched(*(300.0 + sign * 2.0 * n for n in range(7))).slope_alarm == FINE


def test_a_reading_without_a_temperature_begins_the_slope_anew():
    assert watched(*(300.0,) * 7).slope == 0.0
    assert watched(*(300.0,) * 7, None).slope is None
    assert watched(*(300.0,) * 7, None, 100.0).slope is None


@pytest.mark.parametrize(
    ("temp", "alarm"),
    [(302.0, FINE), (303.0, (Level.MINOR, Cause.HIGH)), (297.0, (Level.MINOR, Cause.LOW)),
     (306.0, (Level.MAJOR, Cause.HIHI)), (294.0, (Level.MAJOR, Cause.LOLO))],
)  # fmt: skip
def test_the_deviation_tells_how_far_and_to_which_side(temp: float, alarm: tuple[Level, Cause]):
    assert watched(*(temp,) * 7).deviation_alarm == alarm
