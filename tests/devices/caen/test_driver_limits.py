"""Writes against what the unit holds now: the limits of the site, clipping, and outcomes that were unknown."""

from __future__ import annotations

import pytest

from devices.caen.protocol import Profile
from devices.caen.simulator.model import CaenModel
from devices.errors import DeviceError, LinkDown, NotReady, OutOfLimits, Refused, ReplyTimeout, TakenOtherwise
from devices.model import Level
from tests.devices.caen.bench import Bench, bench, started

SITE = {"limits": {"VSET": (0, 2000), "ISET": (0, 500)}}


async def refused(rig: Bench, name: str, value: float, error: type[DeviceError], reason: str) -> None:
    """Put, and see that nothing was sent."""
    sets = rig.sets()
    with pytest.raises(error, match=reason):
        await rig.driver.write(name, value)
    assert rig.sets() == sets


async def test_on_is_decided_by_the_voltage_that_is_set_now():
    rig = await started(**SITE)
    rig.model.channels[0].vset = 3900.0  # at the front panel, a moment ago
    await refused(rig, "CH00.ON", 1, OutOfLimits, r"ON: VSET is 3900 V, above 2000 V \(site limit\); set VSET first")
    rig.model.channels[0].vset, rig.model.channels[0].iset = 1500.0, 800.0
    await refused(rig, "CH00.ON", 1, OutOfLimits, r"ON: ISET is 800 uA, above 500 uA \(site limit\); set ISET first")
    rig.model.channels[0].iset = 100.0
    assert (await rig.driver.write("CH00.ON", 1))["CH00.ON"].value == 1


async def test_on_is_refused_when_the_voltage_cannot_be_read_now():
    rig = await started(**SITE)
    rig.link.intercept = lambda request: ReplyTimeout("no answer") if b"PAR:VSET" in request else None
    await refused(rig, "CH00.ON", 1, NotReady, "ON: nothing was sent, since VSET cannot be read")
    rig.link.intercept = lambda request: LinkDown("closed") if b"PAR:VSET" in request else None
    await refused(rig, "CH00.ON", 1, LinkDown, "closed")


async def test_maxv_does_not_lift_the_output_over_the_limit_of_the_site():
    rig = await started(**SITE)
    channel = rig.model.channels[0]
    channel.vset, channel.maxv = 3900.0, 1200.0  # changed elsewhere; the output stays below the limit
    assert (await rig.driver.write("CH00.ON", 1))["CH00.ON"].value == 1
    await refused(rig, "CH00.MAXV", 4000, OutOfLimits, r"MAXV 4000 V: VSET is 3900 V, above 2000 V \(site limit\)")
    await rig.driver.write("CH00.MAXV", 2000)
    await refused(rig, "CH00.MAXV", 2001, OutOfLimits, "set VSET first")
    channel.maxv = 3000.0  # lifted at the front panel: bringing it down is always right
    await rig.driver.write("CH00.MAXV", 2500)
    await rig.driver.write("CH00.VSET", 1000)
    assert (await rig.driver.write("CH00.MAXV", 4000))["CH00.MAXV.RBV"].value == 4000.0


async def test_the_high_current_range_does_not_let_more_current_through_than_the_site_allows():
    rig = await started(**SITE)
    channel = rig.model.channels[0]
    channel.imrange, channel.iset = "LOW", 800.0
    await refused(rig, "CH00.IRANGE", 0, OutOfLimits, r"IRANGE HIGH: ISET is 800 uA, above 500 uA \(site limit\)")
    channel.iset = 100.0
    assert (await rig.driver.write("CH00.IRANGE", 0))["CH00.IRANGE.RBV"].value == 0


async def test_without_limits_of_the_site_nothing_is_asked_before_on_and_maxv():
    rig = await started()
    since = len(rig.link.log)
    await rig.driver.write("CH00.ON", 1)
    await rig.driver.write("CH00.MAXV", 3000)
    assert [line.partition(",PAR:")[2] for line in rig.sent(since)] == ["ON", "STAT", "MAXV,VAL:3000", "MAXV"]


async def test_a_put_to_a_voltage_costs_two_exchanges():
    rig = await started(**SITE)
    since = len(rig.link.log)
    await rig.driver.write("CH00.VSET", 1500)
    assert len(rig.sent(since)) == 2


async def test_a_supply_that_takes_another_value_shows_it_at_once():
    rig = await started()

    def clip(request: bytes) -> str | None:
        if b"PAR:VSET,VAL:" not in request:
            return None
        rig.model.channels[0].vset = 3000.0
        return "#CMD:OK"

    rig.link.intercept = clip
    with pytest.raises(TakenOtherwise, match="VSET: the supply took 3000 V instead of 4000 V") as caught:
        await rig.driver.write("CH00.VSET", 4000)
    for name in ("CH00.VSET", "CH00.VSET.RBV"):
        found = caught.value.readings[name]
        assert (found.value, found.level) == (3000.0, Level.MINOR)
    rig.link.intercept = lambda _: None
    found = await rig.driver.read(["CH00.VSET", "CH00.VSET.RBV"])
    assert {reading.level for reading in found.values()} == {Level.MINOR}
    found = await rig.driver.write("CH00.VSET", 2000)
    assert {found[name].level for name in ("CH00.VSET", "CH00.VSET.RBV")} == {Level.OK}


async def unknown_outcome(rig: Bench, name: str, value: float) -> list[bytes]:
    """Put through something that keeps the request, and nothing comes back; return what it keeps."""
    kept: list[bytes] = []

    def keep(request: bytes) -> Exception:
        if b"CMD:SET" in request:
            kept.append(request + b"\r\n")
        return ReplyTimeout("no answer")

    rig.link.intercept = keep
    what = "OFF" if name.endswith(".ON") and not value else name.rpartition(".")[2]
    with pytest.raises(ReplyTimeout, match=f"^{what}: outcome unknown, cannot be read back"):
        await rig.driver.write(name, value)
    await rig.driver.close()
    rig.link.intercept = lambda _: None
    return kept


async def test_a_write_whose_outcome_was_unknown_and_that_comes_true_is_shown_and_reported():
    rig = await started()
    (kept,) = await unknown_outcome(rig, "CH00.RAMPUP", 200)
    rig.model.respond(kept)
    await rig.driver.connect()
    first = rig.driver.portions(rig.everything())
    order = {name: number for number, portion in enumerate(first) for name in portion}
    assert all(order["CH00.RAMPUP.RBV"] <= number for name, number in order.items() if name.endswith(".RBV"))
    found = await rig.driver.read(["CH00.RAMPUP.RBV"])
    assert (found["CH00.RAMPUP"].value, found["CH00.RAMPUP"].level) == (200.0, Level.MINOR)
    assert rig.driver.stats.late == ["CH00:RAMPUP 200 V/s, whose outcome was unknown, has come true"]


@pytest.mark.parametrize("happens", [True, False])
@pytest.mark.parametrize("on", [1, 0])
async def test_a_switch_whose_outcome_was_unknown_is_compared_with_the_first_look(on, happens):
    rig = await started()
    if not on:
        await rig.driver.write("CH00.ON", 1)
    (kept,) = await unknown_outcome(rig, "CH00.ON", on)
    if happens:
        rig.model.respond(kept)
    await rig.driver.connect()
    found = await rig.driver.read(["CH00.STAT", "CH00.ON", "CH00.ON.RBV"])
    output = on if happens else 1 - on
    assert (found["CH00.ON.RBV"].value, found["CH00.ON"].value) == (output, output)
    if on:
        reported = ["CH00:output ON, whose outcome was unknown, has come true"] if happens else []
    else:  # the demand is off from the moment of the put
        reported = [] if happens else ["CH00:output OFF, whose outcome was unknown, is now ON"]
    assert rig.driver.stats.late == reported
    assert found["CH00.ON"].level is (Level.MINOR if reported else Level.OK)
    assert (await rig.driver.read(["CH00.TRIP"]))["CH00.TRIP"].value == 0


@pytest.mark.parametrize("answered", [True, False])
async def test_an_off_without_effect_is_reported_in_one_way(answered):
    rig = await started()
    await rig.driver.write("CH00.ON", 1)
    answer = "#CMD:OK" if answered else ReplyTimeout("no answer")
    rig.link.intercept = lambda request: answer if b"PAR:OFF" in request else None
    with pytest.raises(Refused) as caught:
        await rig.driver.write("CH00.ON", 0)
    reported = "the supply answered OK but is still on" if answered else "no answer, and the output is still on"
    assert str(caught.value) == f"OFF: {reported}"


async def test_why_an_output_stays_off_is_no_guess_where_the_model_is_known():
    for profile, word, reason in (
        (Profile.A, 1024, "over-temperature or disabled"),
        (Profile.B, 1024, "disabled by the front panel switch"),
        (Profile.B, 512, "it gives no reason"),
    ):
        rig = bench(CaenModel(profile))
        rig.model.channels[0].forced = word
        await rig.start()
        status = f"{word:05d}" + (";" if profile is Profile.A else "")
        start = "#" if profile is Profile.A else "#BD:00,"
        reply = f"{start}CMD:OK,VAL:{status}"
        rig.link.intercept = lambda request, reply=reply: reply if request.endswith(b"CH:0,PAR:STAT") else None
        with pytest.raises(Refused, match=f"ON: the supply keeps the output off: {reason}"):
            await rig.driver.write("CH00.ON", 1)
