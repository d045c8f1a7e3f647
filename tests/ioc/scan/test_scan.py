"""The scan engine: what is read when, and what is posted."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Collection, Sequence

import pytest

from devices.errors import LinkDown, Refused
from devices.model import Cause, Level, Limits, Reading
from tests.ioc.fakes import EPOCH, FakeClock, FakeDriver, alarm, settle
from tests.ioc.scan.scan_rig import Rig, change


async def test_GIVEN_a_device_WHEN_connected_THEN_everything_is_read_once_and_posted() -> None:
    async with Rig().running() as rig:
        assert len(rig.driver.batches) == 1
        assert "CH00.CLR.CMD" not in rig.driver.batches[0][1]
        assert "COMM" not in rig.driver.batches[0][1]
        assert rig["CH00:VMON"].val == 100.0
        assert rig["BD:NAME"].val == "DT5533E"
        assert rig["CH00:VSET"].val == 100.0
        assert rig["CH00:CLR:CMD"].val == 0
        assert all(alarm(record) == ("NO_ALARM", 0) for record in rig.records.values()), {
            name: alarm(record) for name, record in rig.records.items()
        }
        assert rig.driver.writes == []


async def test_GIVEN_rates_WHEN_time_passes_THEN_one_batch_per_tick_on_absolute_deadlines() -> None:
    async with Rig().running() as rig:
        rig.driver.delay = 0.3
        await rig.clock.advance(10.0)
        fast = ["CH00.IMON", "CH00.VMON"]
        found = [(round(t - 100, 3), names) for t, names in rig.driver.batches[1:]]
        assert [batch for batch in found if batch[1] == fast] == [(float(t), fast) for t in range(1, 11)]
        assert [batch for batch in found if batch[1] != fast] == [(5.3, ["CH00.VSET.RBV"])]


class PortionedDriver(FakeDriver):
    """Divides what it reads into single signals, each of which takes ``delay``."""

    def portions(self, names: Sequence[str]) -> Sequence[Collection[str]]:
        return [[name] for name in names]


async def test_GIVEN_a_slow_line_WHEN_connected_THEN_fast_values_come_first_and_are_not_held_up_by_the_rest() -> None:
    rig = Rig(driver=PortionedDriver)
    rig.driver.delay = 0.4
    async with rig.running():
        await rig.clock.advance(0.9)
        assert alarm(rig["CH00:VMON"]) == ("NO_ALARM", 0)
        assert rig["CH00:VSET:RBV"].udf
        assert rig.scanner.ready
        await rig.clock.advance(3.0)
        fast = [t for t, names in rig.driver.batches if names == ["CH00.IMON", "CH00.VMON"]]
        assert all(later - earlier <= 1.5 for earlier, later in itertools.pairwise(fast))
        assert not rig["CH00:VSET:RBV"].udf
        rest = [names for _, names in rig.driver.batches if len(names) == 1]
        assert sorted(rest) == [["BD.NAME"], ["CH00.ON"], ["CH00.VSET"], ["CH00.VSET.RBV"], ["CH01.VSET"]]


async def test_GIVEN_a_fast_scan_that_fills_the_period_WHEN_scanning_THEN_the_rest_still_gets_a_portion_each() -> None:
    rig = Rig(driver=PortionedDriver)
    rig.driver.delay = 1.2
    async with rig.running():
        await rig.clock.advance(15.0)
        assert {tuple(names) for _, names in rig.driver.batches} >= {("BD.NAME",), ("CH01.VSET",)}


async def test_GIVEN_a_bad_answer_to_what_is_read_once_WHEN_time_passes_THEN_it_is_asked_again() -> None:
    rig = Rig(driver=PortionedDriver)
    name = rig.driver.values.pop("BD.NAME")
    async with rig.running():
        await rig.clock.advance(2.0)
        assert rig["BD:NAME"].udf
        asked = sum(names == ["BD.NAME"] for _, names in rig.driver.batches)
        assert asked <= 2
        rig.driver.values["BD.NAME"] = name
        await rig.clock.advance(6.0)
        assert rig["BD:NAME"].val == name


async def test_GIVEN_a_reading_that_the_device_calls_none_WHEN_scanning_THEN_it_has_answered_all_the_same() -> None:
    async with Rig().running() as rig:
        invalid = Reading(None, rig.clock.time(), Level.INVALID, Cause.READ)
        rig.driver.readings |= dict.fromkeys(rig.driver.values, invalid)
        await rig.clock.advance(12.0)
        assert alarm(rig["CH00:VMON"]) == ("READ", 3)
        assert rig["COMM:AGE"].val <= 1.0


async def test_GIVEN_a_driver_that_knows_a_range_WHEN_it_changes_THEN_readings_show_it() -> None:
    rig = Rig()
    rig.driver.display_range = {"CH00.VMON": (0.0, 4000.0)}.get  # type: ignore[attr-defined]
    async with rig.running():
        assert (rig["CH00:VMON"].get("LOPR"), rig["CH00:VMON"].get("HOPR")) == (0.0, 4000.0)
        rig.driver.display_range = {"CH00.VMON": (0.0, 3000.0)}.get  # type: ignore[attr-defined]
        await rig.clock.advance(5.0)
        assert rig["CH00:VMON"].get("HOPR") == 3000.0


async def test_GIVEN_a_slow_device_WHEN_cycles_overrun_THEN_they_are_counted_and_never_pile_up() -> None:
    rig = Rig()
    async with rig.running():
        rig.driver.delay = 2.5
        await rig.clock.advance(20.0)
        starts = [t for t, _ in rig.driver.batches[1:]]
        assert all(later - earlier >= 2.5 for earlier, later in itertools.pairwise(starts))
        assert len(starts) == 8
        assert rig["SCAN:LATE"].val >= 5
        assert rig["SCAN:TIME"].val == pytest.approx(2500, abs=1)
        assert alarm(rig["SCAN:TIME"]) == ("HIGH", 1)
        rig.driver.delay = 0.0
        await rig.clock.advance(5.0)
        assert alarm(rig["SCAN:TIME"]) == ("NO_ALARM", 0)
        assert [t % 1 for t, _ in rig.driver.batches[-3:]] == [0, 0, 0]


async def test_GIVEN_a_scanned_record_WHEN_its_SCAN_changes_THEN_it_is_read_at_the_new_rate() -> None:
    async with Rig().running() as rig:
        change(rig["CH00:VMON"], "SCAN", ".1 second")
        await rig.clock.advance(1.05)
        times = [round(t - 100, 2) for t, names in rig.driver.batches[1:] if "CH00.VMON" in names]
        assert times == [round(n / 10, 2) for n in range(1, 11)]
        change(rig["CH00:VMON"], "SCAN", "Passive")
        count = len(rig.driver.batches)
        await rig.clock.advance(0.9)
        assert len(rig.driver.batches) == count


async def test_GIVEN_PROC_on_inputs_WHEN_written_THEN_they_are_read_at_once_in_one_batch() -> None:
    async with Rig().running() as rig:
        rig.driver.values |= {"CH00.VMON": 7.0, "BD.NAME": "N1470"}
        await rig.clock.advance(0.2)
        change(rig["CH00:VMON"], "PROC", 1)
        change(rig["BD:NAME"], "PROC", 1)
        change(rig["COMM"], "PROC", 1)
        await settle()
        assert rig.driver.batches[1:] == [(100.2, ["BD.NAME", "CH00.VMON"])]
        assert (rig["CH00:VMON"].val, rig["BD:NAME"].val) == (7.0, "N1470")


async def test_GIVEN_two_devices_WHEN_one_driver_talks_nonsense_THEN_the_other_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = FakeClock()
    bad, good = Rig(clock, "HV1"), Rig(clock, "HV2")
    with caplog.at_level(logging.INFO, "labioc"):
        async with bad.running(), good.running():
            bad.driver.values |= {"CH00.VMON": "not a number", "CH00.IMON": 2.5}
            await clock.advance(1.0)
            assert alarm(bad["CH00:VMON"]) == ("READ", 3)
            assert bad["CH00:IMON"].val == 2.5
            bad.driver.read = None  # type: ignore[assignment]
            await clock.advance(10.0)
            assert alarm(bad["CH00:IMON"]) == ("COMM", 3)
            assert [round(t - 100) for t, names in good.driver.batches if "CH00.VMON" in names] == list(range(12))
            assert alarm(good["CH00:VMON"]) == ("NO_ALARM", 0)
    traces = [record for record in caplog.records if record.exc_info]
    assert len(traces) == 1, "one traceback, however often it happens"
    assert sum("HV1: lost" in record.getMessage() for record in caplog.records) == 1


async def test_GIVEN_readings_with_alarms_WHEN_posted_THEN_the_records_show_them() -> None:
    async with Rig().running() as rig:
        now = rig.clock.time()
        rig.driver.readings = {
            "CH00.VMON": Reading(99.5, now + 0.25, Level.MINOR, Cause.STATE),
            "CH00.IMON": Reading(None, now, Level.INVALID, Cause.READ),
        }
        await rig.clock.advance(1.0)
        assert rig["CH00:VMON"].val == 99.5
        assert alarm(rig["CH00:VMON"]) == ("STATE", 1)
        assert rig["CH00:VMON"].seconds + 631152000 == int(EPOCH)
        assert rig["CH00:VMON"].nanoseconds == pytest.approx(0.25e9, abs=1e6)
        assert alarm(rig["CH00:IMON"]) == ("READ", 3)
        assert rig["CH00:IMON"].val == 1.5


async def test_GIVEN_a_single_bad_answer_WHEN_left_out_THEN_nothing_changes() -> None:
    async with Rig().running() as rig:
        del rig.driver.values["CH00.VMON"]
        await rig.clock.advance(1.0)
        assert (rig["CH00:VMON"].val, alarm(rig["CH00:VMON"])) == (100.0, ("NO_ALARM", 0))


async def test_GIVEN_a_wall_clock_that_steps_back_WHEN_scanning_THEN_posting_goes_on() -> None:
    async with Rig().running() as rig:
        rig.clock.offset -= 3600
        rig.driver.values["CH00.VMON"] = 55.0
        await rig.clock.advance(1.0)
        assert rig["CH00:VMON"].val == 55.0


async def test_GIVEN_limits_and_precision_of_the_device_WHEN_they_change_THEN_the_records_follow() -> None:
    rig = Rig()
    rig.driver.limits_now["CH00.VSET"] = Limits(0.0, 1500.0)
    rig.driver.digits["CH00.IMON"] = 3
    async with rig.running():
        assert (rig["CH00:VSET"].get("DRVL"), rig["CH00:VSET"].get("DRVH")) == (0.0, 1500.0)
        assert rig["CH00:IMON"].get("PREC") == 3
        rig.driver.limits_now["CH00.VSET"] = Limits(0.0, 1200.0)
        await rig.scanner.write("CH00.VSET", 300.0)
        assert rig["CH00:VSET"].get("DRVH") == 1200.0


async def test_GIVEN_a_batch_on_its_way_WHEN_a_put_reads_back_THEN_the_older_reading_does_not_win() -> None:
    async with Rig().running() as rig:
        old = Reading(100.0, rig.clock.time() + 4.9)
        rig.driver.readings["CH00.VSET.RBV"] = old
        await rig.clock.advance(4.95)
        rig.driver.delay = 0.5
        await rig.clock.advance(0.6)
        assert rig.driver.batches[-1][1] == ["CH00.VSET.RBV"]
        await rig.scanner.write("CH00.VSET", 250.0)
        assert rig["CH00:VSET:RBV"].val == 250.0
        await rig.clock.advance(1.0)
        assert rig["CH00:VSET:RBV"].val == 250.0


async def test_GIVEN_a_refused_write_WHEN_it_fails_THEN_nothing_is_lost() -> None:
    async with Rig().running() as rig:
        rig.driver.write_trouble = Refused("no")
        with pytest.raises(Refused):
            await rig.scanner.write("CH00.VSET", 1.0)
        assert rig.scanner.ready
        assert rig["CH00:VSET"].val == 100.0


async def test_GIVEN_a_driver_bug_WHEN_writing_THEN_only_a_device_error_leaves() -> None:
    async with Rig().running() as rig:
        rig.driver.write_trouble = KeyError("CH00")
        with pytest.raises(LinkDown, match="internal error: KeyError"):
            await rig.scanner.write("CH00.VSET", 1.0)


@pytest.mark.parametrize(
    ("settings", "name", "value", "severity"),
    [
        ({"simulated": True}, "SIM", 1, 1),
        ({"simulated": False}, "SIM", 0, 0),
        ({"readonly": True}, "READONLY", 1, 0),
    ],
)
async def test_GIVEN_settings_THEN_the_device_PVs_say_so(
    settings: dict[str, object], name: str, value: int, severity: int
) -> None:
    async with Rig(**settings).running() as rig:
        assert (rig[name].val, rig[name].sevr) == (value, severity)


async def test_GIVEN_link_statistics_WHEN_a_second_passes_THEN_they_are_shown() -> None:
    async with Rig().running() as rig:
        rig.driver.stats.rtt, rig.driver.stats.errors = 0.6, 3
        rig.driver.stats.last_error = "one garbled line"
        await rig.clock.advance(1.0)
        assert rig["COMM:RTT"].val == pytest.approx(600)
        assert alarm(rig["COMM:RTT"]) == ("HIGH", 1)
        assert rig["COMM:ERRORS"].val == 3
        assert "one garbled line" in rig["COMM:MSG"].val  # type: ignore[operator]
        assert rig["COMM:MSG"].val[:4] == "2023"  # type: ignore[index]


async def test_GIVEN_many_readings_WHEN_posting_THEN_others_get_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig()
    naps: list[float] = []
    sleep: Callable[[float], object] = rig.clock.sleep

    async def counting_sleep(seconds: float) -> None:
        if seconds < 0.01:
            naps.append(seconds)
            rig.clock.now += seconds
        else:
            await sleep(seconds)  # type: ignore[misc]

    monkeypatch.setattr(rig.clock, "sleep", counting_sleep)

    def slow_post(*args: object) -> None:
        rig.clock.now += 0.0011

    for record in rig.records.values():
        if record.name.startswith("LAB:HV1:CH"):
            monkeypatch.setattr(type(record), "post", slow_post)
    async with rig.running():
        assert naps
        assert set(naps) == {0}


async def test_GIVEN_a_setting_WHEN_changed_by_another_program_THEN_one_line_says_so_until_they_agree_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def lines() -> list[str]:
        return [record.message for record in caplog.records if "changed elsewhere" in record.message]

    def differs(value: float, level: Level = Level.MINOR) -> Reading:
        return Reading(value, rig.clock.time(), level, Cause.STATE if level else Cause.NONE)

    async with Rig().running() as rig:
        for reading, count in (
            (differs(100.0), 0),  # an alarm for another reason
            (differs(250.0), 1),
            (differs(260.0), 1),
            (differs(100.0, Level.OK), 1),
            (differs(300.0), 2),
        ):
            rig.driver.readings["CH00.VSET.RBV"] = reading
            await rig.clock.advance(6.0)
            assert len(lines()) == count
        assert lines()[0] == "HV1: CH00:VSET is 250, not 100 as asked for: it was changed elsewhere"
        assert str(rig["COMM:MSG"].val).endswith("CH00:VSET is 300, not 100 as asked for: it was changed elsewhere")
