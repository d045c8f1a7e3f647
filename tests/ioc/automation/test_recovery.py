"""The recovery from trips: a CAEN driver on a simulated unit, the whole way of a put, time in the hands of the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from ioc.automation.recovery import ARMED, USER
from tests.conftest import rounds
from tests.ioc.automation.recovery_rig import CALM, DWELL, PER_HOUR, TRIES, WAIT, Rig
from tests.ioc.automation.recovery_scenarios import EVENTS, events, play
from tests.ioc.fakes import alarm

CLEAR, LOW, ON, FULL = "PAR:BDCLR", "CH:0,PAR:VSET,VAL:400.0", "CH:0,PAR:ON", "CH:0,PAR:VSET,VAL:500.0"


@asynccontextmanager
async def at_voltage() -> AsyncIterator[Rig]:
    async with Rig().running() as rig:
        yield rig


async def test_GIVEN_an_armed_channel_WHEN_it_trips_THEN_it_is_brought_back_in_two_ramps() -> None:
    async with at_voltage() as rig:
        tripped = rig.clock.now
        rig.model.trip(0)
        await rig.until("WAIT")
        assert alarm(rig["REC:STATE"]) == ("STATE", 1)
        assert rig["STATE"].val == 9
        await rig.until("RAMP")
        assert rig.clock.now - tripped >= WAIT
        await rig.wait(4.0)
        assert (rig["STATE"].val, rig["STATE"].sevr) == (6, 1), "RECOVERING"
        await rig.until("IDLE")
        assert rig.recovered() == [CLEAR, LOW, ON, FULL]
        at = {text: time for time, text in rig.writes}
        assert at[f"recovery $CMD:SET,{FULL}"] - at[f"recovery $CMD:SET,{ON}"] >= DWELL
        await rig.wait(2.0)
        assert (rig["VSET"].val, rig["VSET:RBV"].val, rig["STATE"].val) == (500.0, 500.0, 1)
        assert rig["REC:MSG"].val == "armed; back at 500 V"
        assert rig["TRIP"].val == 1, "acknowledging is left to people"
        assert rig["REC:LEFT"].val == TRIES - 1
        sent = [(entry.pv, entry.user, entry.outcome) for entry in rig.journal.entries if entry.user == USER]
        assert sent == [(f"LAB:HV1:CH00:{name}", USER, "applied") for name in ("CLR:CMD", "VSET", "ON", "VSET")]
        await rig.wait(CALM + 2.0)
        assert rig["REC:LEFT"].val == TRIES, "it has stood for a while"


async def test_GIVEN_a_server_that_has_started_WHEN_a_channel_trips_THEN_nothing_is_done_until_it_is_armed() -> None:
    async with at_voltage() as rig:
        await rig.put("REC:MODE", 0)
        rig.model.trip(0)
        await rig.wait(60.0)
        await rig.put("REC:MODE", ARMED)
        await rig.wait(60.0)
        assert (rig.recovered(), rig.phase) == ([], "IDLE")
    assert Rig()["REC:MODE"].val == 0


@pytest.mark.parametrize("cause", ["kill", "interlock", "too hot"])
@pytest.mark.parametrize("when", ["with the trip", "while it waits", "on the way"])
async def test_GIVEN_another_protection_WHEN_it_trips_THEN_it_is_locked_out_until_it_is_armed_anew(
    cause: str, when: str
) -> None:
    async with at_voltage() as rig:
        rig.model.trip(0)
        if when != "with the trip":
            await rig.until("WAIT" if when == "while it waits" else "RAMP")
        EVENTS[cause][1](rig)
        await rig.until("LOCKOUT")
        sent = len(rig.writes)
        assert alarm(rig["REC:STATE"]) == ("STATE", 2)
        EVENTS[{"kill": "kill released", "interlock": "interlock closed", "too hot": "cool again"}[cause]][1](rig)
        await rig.put("TRIP:ACK:CMD", 1)
        await rig.wait(60.0)
        assert (rig.phase, len(rig.writes)) == ("LOCKOUT", sent)
        await rig.put("REC:MODE", ARMED)
        assert (rig.phase, alarm(rig["REC:STATE"])) == ("IDLE", ("NO_ALARM", 0))


@pytest.mark.parametrize(("suffix", "value"), [("ON", 0), ("ON", 1), ("VSET", 100.0), ("CLR:CMD", 1), ("ISET", 50.0)])
@pytest.mark.parametrize("phase", ["WAIT", "RAMP"])
async def test_GIVEN_a_recovery_WHEN_a_person_puts_to_the_channel_THEN_the_person_has_it(
    suffix: str, value: float, phase: str
) -> None:
    async with at_voltage() as rig:
        rig.model.trip(0)
        await rig.until(phase)
        await rig.wait(2.5)
        await rig.put(suffix, value, refused=None)
        sent = rig.recovered()
        assert rig.phase == "HOLD"
        assert rig["REC:MSG"].val == f"ended by a put of olga@desk1 to {suffix}"
        await rig.wait(60.0)
        assert rig.recovered() == sent
        await rig.put("TRIP:ACK:CMD", 1)
        assert rig.phase == "IDLE"


@pytest.mark.parametrize("what", ["OFF", "objection"])
async def test_GIVEN_an_ON_that_waits_for_its_line_WHEN_it_may_not_be_any_more_THEN_it_is_never_sent(what: str) -> None:
    async with at_voltage() as rig:
        rig.model.trip(0)
        await rig.until("RAMP")
        rig.link.delay = 0.3
        end = rig.clock.now + 60.0
        while not any(name.endswith("CH00:ON") for name in (task.get_name() for task in asyncio.all_tasks())):
            assert rig.clock.now < end, rig["REC:MSG"].val
            await rig.wait(0.1)
        if what == "OFF":
            await rig.put("ON", 0)
        else:
            EVENTS[what][1](rig)
            for listener in list(rig.scanner.on_posted):
                listener()
        rig.link.delay = 0.0
        await rig.wait(30.0)
        assert (ON in rig.recovered(), rig.model.channels[0].on, rig.phase) == (False, False, "HOLD")


async def test_GIVEN_a_write_past_the_PVs_WHEN_it_waits_THEN_it_is_ended() -> None:
    async with at_voltage() as rig:
        rig.model.trip(0)
        await rig.until("WAIT")
        await asyncio.gather(rig.raw(["OFF", "0"], ""), rig.wait(1.0))
        await rig.wait(30.0)
        assert (rig.phase, rig.recovered()) == ("HOLD", [])
        assert rig["REC:MSG"].val == "ended by a put of eve@desk2 to past the PVs"


@pytest.mark.parametrize("phase", ["WAIT", "RAMP"])
async def test_GIVEN_a_recovery_WHEN_the_link_is_lost_THEN_it_is_over_also_when_it_is_back(phase: str) -> None:
    async with at_voltage() as rig:
        rig.model.trip(0)
        await rig.until(phase)
        EVENTS["link lost"][1](rig)
        await rig.until("HOLD")
        sent = rig.recovered()
        EVENTS["link back"][1](rig)
        await rig.wait(60.0)
        assert (rig.phase, rig.recovered()) == ("HOLD", sent)


async def test_GIVEN_a_lasting_fault_WHEN_the_attempts_are_used_up_THEN_locked_out() -> None:
    async with at_voltage() as rig:
        rig.model.channels[0].load = 0.0
        await rig.until("LOCKOUT", 200.0)
        assert rig.recovered() == [CLEAR, LOW, ON] * TRIES
        assert rig["REC:MSG"].val == f"{TRIES} attempts in a row (REC:TRIES)"
        assert (rig["REC:LEFT"].val, alarm(rig["REC:LEFT"])) == (0, ("LOW", 1))


async def test_GIVEN_a_channel_that_trips_and_stands_WHEN_the_hour_is_used_up_THEN_locked_out_also_after_arming() -> (
    None
):
    async with at_voltage() as rig:
        for _ in range(PER_HOUR):
            rig.model.trip(0)
            await rig.until("RAMP")
            await rig.until("IDLE")
            await rig.wait(CALM + 5.0)
        for _ in range(2):
            rig.model.trip(0)
            await rig.until("LOCKOUT")
            assert rig["REC:MSG"].val == f"{PER_HOUR} attempts within an hour"
            await rig.put("REC:MODE", ARMED)
            await rig.put("CLR:CMD", 1)
            await rig.put("ON", 1)
            await rig.wait(10.0)
        assert rig.recovered().count(ON) == PER_HOUR
        rig.clock.now += 3600.0
        await rig.wait(10.0)
        assert rig["REC:LEFT"].val == TRIES


@pytest.mark.parametrize("what", ["server disarmed", "DISABLE", "objection", "panel vset", "panel on"])
async def test_GIVEN_what_speaks_against_it_WHEN_its_time_has_come_THEN_it_holds_and_sends_nothing(what: str) -> None:
    async with at_voltage() as rig:
        rig.model.trip(0)
        await rig.until("WAIT")
        if what == "panel on":
            rig.model.channels[0].tripped = False
        EVENTS[what][1](rig)
        await rig.until("HOLD")
        assert rig.recovered() == []
        await rig.wait(30.0)
        assert (rig.phase, rig.recovered()) == ("HOLD", [])


@pytest.mark.parametrize("set_back", [0.0, 3600.0])
@pytest.mark.parametrize("when", ["while it waits", "before it is on"])
async def test_GIVEN_a_kill_between_two_scans_WHEN_its_time_has_come_THEN_the_alarm_memory_locks_it_out(
    when: str, set_back: float
) -> None:
    async with at_voltage() as rig:
        rig.model.trip(0)
        await rig.until("WAIT")
        if when == "before it is on":
            while f"recovery $CMD:SET,{CLEAR}" not in [text for _, text in rig.writes]:
                await rig.wait(0.05)
        for offset in (0.1, 0.4, 0.7) if when == "while it waits" else (0.0,):
            await rig.wait(offset)
            rig.model.channels[0].killed = True
            rig.model._latch()
            rig.model.channels[0].killed = False
        rig.clock.offset -= set_back
        await rig.until("LOCKOUT")
        await rig.wait(30.0)
        assert rig["REC:MSG"].val == "LAB:HV1:BD:PROT is YES"
        assert (ON in rig.recovered(), rig.model.channels[0].on) == (False, False)


async def test_GIVEN_a_recovery_that_waits_WHEN_the_server_is_disarmed_and_armed_THEN_it_is_over() -> None:
    async with at_voltage() as rig:
        rig.model.trip(0)
        await rig.until("WAIT")
        await rig.put("IOC:ARMED", 0)
        await rig.wait(2.0)
        await rig.put("IOC:ARMED", 1)
        await rig.wait(30.0)
        assert (rig.phase, rig.recovered()) == ("HOLD", [])
        assert rig["REC:MSG"].val == "the server is not armed (LAB:IOC:ARMED is 0)"


async def test_GIVEN_another_unit_than_the_site_file_says_WHEN_it_trips_THEN_it_is_left_alone() -> None:
    async with at_voltage() as rig:
        serial = rig.records["LAB:HV1:BD:SERIAL"]
        serial.post("999", rig.clock.time(), 2)
        rig.model.trip(0)
        await rig.until("HOLD")
        await rig.wait(60.0)
        assert rig.recovered() == []
        assert rig["REC:MSG"].val == "LAB:HV1:BD:SERIAL is 999, which is not the unit of the site file"


async def test_GIVEN_an_output_that_has_gone_without_a_trip_of_the_unit_WHEN_waited_THEN_it_holds() -> None:
    async with at_voltage() as rig:
        rig.model.channels[0].switch_off(fast=True)  # at the front panel: the voltage goes faster than the ramp
        await rig.wait(60.0)
        assert rig.recovered() == []


async def test_GIVEN_a_trip_on_the_way_up_WHEN_it_was_not_seen_settled_THEN_it_holds() -> None:
    async with at_voltage() as rig:
        await rig.put("RAMPUP", 10.0)
        await rig.put("VSET", 900.0)
        await rig.wait(5.0)
        rig.model.trip(0)
        await rig.until("HOLD")
        assert rig["REC:MSG"].val == "it had not settled since the last put, connection, change or objection"


async def test_GIVEN_fewer_TRIES_than_attempts_WHEN_put_THEN_the_attempt_is_over() -> None:
    async with at_voltage() as rig:
        rig.model.channels[0].load = 0.0
        await rig.until("RAMP")
        await rig.until("WAIT")
        await rig.until("RAMP")
        sent = len(rig.writes)
        await rig.put("REC:TRIES", 1)
        assert rig.phase == "LOCKOUT"
        await rig.wait(30.0)
        assert len(rig.writes) == sent
        await rig.put("REC:TRIES", 0, refused=True)


# ---- scenarios of chance


@pytest.mark.parametrize(
    "scenario",
    [
        # a channel that stood at 0 V was "brought back" to 0 V
        [(14.0, "VSET 0"), (16.0, "ARM"), (19.0, "spark"), (40.0, "no objection")],
        # REC:TRIES was lowered in the second of two attempts, which went on
        [(3.5, "spark"), (13.6, "spark"), (13.0, "one try"), (40.0, "no objection")],
    ],
)
async def test_scenarios_that_have_failed(scenario: list[tuple[float, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EVENTS, "VSET 0", (0, lambda rig: rig.ask("VSET", 0.0)))
    monkeypatch.setitem(EVENTS, "one try", (0, lambda rig: rig.ask("REC:TRIES", 1)))
    await play(scenario)


@pytest.mark.parametrize("seed", [6759, 8669, 106934])
async def test_seeds_that_have_failed(seed: int) -> None:
    await play(events(seed))


BLOCKS, SEEDS = rounds(4), 10 if rounds(1) == 1 else 84
"""Scenarios are played in blocks: 40 usually, 10,080 with ``make test-long``."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("block", range(BLOCKS))
async def test_no_scenario_has_a_write_that_must_not_be(block: int) -> None:
    attempts = 0
    for seed in range(block * SEEDS, (block + 1) * SEEDS):
        judge = await play(events(seed))
        attempts += len(judge.attempts)
    assert attempts, "nothing was tried: the scenarios show nothing"
