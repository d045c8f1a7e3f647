"""The plan of a restore: the order of the puts, what is left alone, and why there can be none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioc.client.reading import Meta, Reading, Scalar
from ioc.database.dbfile import RecordDef
from ioc.export.plant import OUTPUT, Plant, Setting, settings
from ioc.site.config import parse_site
from ioc.snapshots.plan import Plan, make, selected
from ioc.snapshots.present import Present, Trouble, matching
from ioc.snapshots.snapshot import Saved, Snapshot

SITE: dict[str, Any] = {
    "site": {"prefix": "LAB"},
    "can": {"main": {"interface": "virtual", "channel": "x"}},
    "device": [
        {"name": "HV1", "type": "caen-dt55xx", "address": "tcp://a:23", "channels": 2,
         "channel": {"0": {"alias": "CALO:PMT07"}}},
        {"name": "IS1", "type": "iseg-edcp", "can": "main", "module": 3, "channels": 1},
        {"name": "FU1", "type": "eurotherm-3200", "address": "serial:///dev/ttyUSB0", "unit": 1, "detail": "full"},
    ],
}  # fmt: skip
PLANT = Plant.build([parse_site(SITE)])
SETTINGS = {one.record.name: one for one in settings(PLANT)}
STATES = {"ON": ("OFF", "ON"), "IRANGE": ("HIGH", "LOW"), "MODE": ("AUTO", "MANUAL"), "SPSEL": ("SP1", "SP2")}
LIMITS = {"VSET": (0.0, 4000.0)}


def present(name: str, value: Scalar, writable: bool = True, error: str = "") -> Present:
    setting, part = SETTINGS[name], name.rpartition(":")[2]
    if error:
        return Present(setting, trouble=Trouble(error))
    states = STATES.get(part, ())
    limits = {"control": LIMITS[part]} if part in LIMITS else {}
    meta = Meta(setting.record.fields.get("EGU", ""), int(setting.record.fields.get("PREC", 0)), states, limits)
    reading = Reading(states.index(str(value)) if states else value, 1.0, 0, 0, meta)
    return Present(setting, reading, reading, writable)


def plan(now: Mapping[str, Scalar], then: Mapping[str, Scalar], outputs: bool = False) -> tuple[Plan, list[str]]:
    """Plan from short names (``HV1:CH00:VSET``), in the order of the site."""
    found = {f"LAB:{name}": Saved(f"LAB:{name}", value, None) for name, value in then.items()}
    there = {name: present(name, now[name[4:]]) for name in SETTINGS if name in found}
    return make(found, there, outputs)


def order(now: Mapping[str, Scalar], then: Mapping[str, Scalar], outputs: bool = False) -> list[str]:
    found, errors = plan(now, then, outputs)
    assert errors == []
    return [f"{step.pv[4:]}{' at rest' if step.await_rest else ''}" for step in found.steps]


def test_limits_come_before_values_and_ramps_before_voltages() -> None:
    now: dict[str, Scalar] = {"HV1:CH00:VSET": 100.0, "HV1:CH00:ISET": 10.0, "HV1:CH00:RAMPUP": 10.0,
                              "HV1:CH00:MAXV": 500.0, "HV1:CH01:VSET": 0.0, "HV1:CH01:MAXV": 100.0,
                              "IS1:MOD:RAMPV": 1.0, "IS1:CH00:VSET": 5.0, "FU1:RATE": 1.0, "FU1:TSET": 20.0,
                              "FU1:SP1": 20.0, "FU1:SPMAX": 100.0}  # fmt: skip
    then = {name: float(value) * 2 + 1 for name, value in now.items()}
    assert order(now, then) == [
        "HV1:CH00:ISET", "HV1:CH00:MAXV", "HV1:CH01:MAXV", "HV1:CH00:RAMPUP", "HV1:CH00:VSET", "HV1:CH01:VSET",
        "IS1:MOD:RAMPV", "IS1:CH00:VSET", "FU1:SPMAX", "FU1:RATE", "FU1:TSET", "FU1:SP1",
    ]  # fmt: skip


def test_a_limit_that_is_tightened_waits_for_the_value_that_goes_down() -> None:
    now: dict[str, Scalar] = {"HV1:CH00:VSET": 1000.0, "HV1:CH00:ISET": 100.0, "HV1:CH00:MAXV": 1500.0}
    assert order(now, {"HV1:CH00:VSET": 500.0, "HV1:CH00:ISET": 50.0, "HV1:CH00:MAXV": 800.0}) == [
        "HV1:CH00:VSET", "HV1:CH00:ISET at rest", "HV1:CH00:MAXV at rest",
    ]  # fmt: skip
    assert order(now, {"HV1:CH00:VSET": 1200.0, "HV1:CH00:ISET": 50.0, "HV1:CH00:MAXV": 1300.0}) == [
        "HV1:CH00:ISET at rest", "HV1:CH00:MAXV at rest", "HV1:CH00:VSET",
    ]  # fmt: skip


def test_a_range_is_widened_before_its_limit_and_narrowed_after_it() -> None:
    low: dict[str, Scalar] = {"HV1:CH00:IRANGE": "LOW", "HV1:CH00:ISET": 10.0}
    high: dict[str, Scalar] = {"HV1:CH00:IRANGE": "HIGH", "HV1:CH00:ISET": 500.0}
    assert order(low, high) == ["HV1:CH00:IRANGE", "HV1:CH00:ISET"]
    assert order(high, low) == ["HV1:CH00:ISET at rest", "HV1:CH00:IRANGE at rest"]


VOLTS = st.integers(0, 40).map(lambda n: n * 100.0)


@given(st.tuples(VOLTS, VOLTS), st.tuples(VOLTS, VOLTS))
def test_no_value_is_ever_outside_a_limit_in_force(now: tuple[float, float], then: tuple[float, float]) -> None:
    start = {"HV1:CH00:VSET": min(now), "HV1:CH00:MAXV": max(now)}
    end = {"HV1:CH00:VSET": min(then), "HV1:CH00:MAXV": max(then)}
    found, errors = plan(start, end)
    assert errors == []
    state = dict(start)
    for step in found.steps:
        assert state[step.pv[4:]] == step.before
        state[step.pv[4:]] = step.value
        assert state["HV1:CH00:VSET"] <= state["HV1:CH00:MAXV"]
    assert state == end
    assert len(found.steps) + found.in_force == 2


@given(*(st.tuples(*[st.integers(0, 50)] * 3).map(sorted) for _ in range(2)))
def test_no_setpoint_is_ever_outside_the_limits_of_the_controller(now: list[int], then: list[int]) -> None:
    names = ["FU1:SPMIN", "FU1:SP1", "FU1:SPMAX"]
    state = dict(zip(names, map(float, now), strict=True))
    found, errors = plan(dict(state), dict(zip(names, map(float, then), strict=True)))
    assert errors == []
    for step in found.steps:
        assert isinstance(step.value, float)
        state[step.pv[4:]] = step.value
        assert state["FU1:SPMIN"] <= state["FU1:SP1"] <= state["FU1:SPMAX"]


def test_nothing_is_switched_unless_asked_for() -> None:
    now: dict[str, Scalar] = {"HV1:CH00:ON": "ON", "HV1:CH01:ON": "OFF", "HV1:CH00:VSET": 5.0, "HV1:CH01:VSET": 5.0}
    then: dict[str, Scalar] = {"HV1:CH00:ON": "OFF", "HV1:CH01:ON": "ON", "HV1:CH00:VSET": 9.0, "HV1:CH01:VSET": 9.0}
    assert order(now, then) == ["HV1:CH00:VSET", "HV1:CH01:VSET"]
    assert plan(now, then)[0].outputs == ("LAB:HV1:CH00:ON", "LAB:HV1:CH01:ON")
    assert order(now, then, outputs=True) == ["HV1:CH00:ON", "HV1:CH00:VSET", "HV1:CH01:VSET", "HV1:CH01:ON"]


@pytest.mark.parametrize("access", ["O", "E"])
@pytest.mark.parametrize(("tag", "part"), [({}, OUTPUT), ({"restore": "high limit"}, "high limit")])
def test_a_switch_of_any_family_is_an_output_unless_its_template_says_otherwise(
    access: str, tag: dict[str, str], part: str
) -> None:
    fields = {"DTYP": "labioc", "OUT": "@HV1 HEATER", "ZNAM": "OFF", "ONAM": "ON"}
    switch = RecordDef("LAB:HV1:HEATER", "bo", fields, {"access": access} | tag, (), "x", 1, {})
    device = replace(PLANT.devices[0], records={"HEATER": switch}, channels=())
    (setting,) = settings(replace(PLANT, devices=(device,)))
    assert (setting.part, setting.restored) == (part, part != OUTPUT)


def test_what_is_in_force_is_not_written() -> None:
    now: dict[str, Scalar] = {"HV1:CH00:VSET": 100.0, "HV1:CH00:PDWN": 1, "HV1:CH00:ON": "ON"}
    found, errors = plan(now, now | {"HV1:CH00:VSET": 100.04}, outputs=True)
    assert (found, errors) == (Plan((), 3, ()), [])


def one_error(now: Present, then: Saved, outputs: bool = False) -> str:
    (error,) = make({now.pv: then}, {now.pv: now}, outputs)[1]
    return error


VSET = "LAB:HV1:CH00:VSET"


@pytest.mark.parametrize(
    ("now", "then", "error"),
    [
        (present(VSET, 0.0, error="not connected"), Saved(VSET, 5.0, "V"), f"{VSET}: not connected"),
        (present(VSET, 0.0), Saved(VSET, 5.0, "kV"), f"{VSET}: found the unit 'kV' in the file, it has 'V'"),
        (present(VSET, 0.0), Saved(VSET, "ON", "V"), f"{VSET}: found 'ON' in the file, it has 0.0"),
        (present(VSET, 0.0), Saved(VSET, 5000.0, "V"),
         f"{VSET}: found 5000 in the file, the limits in force are 0 to 4000"),
        (present(VSET, 0.0, writable=False), Saved(VSET, 5.0, "V"), f"{VSET}: this client may not write it"),
        (present("LAB:FU1:SPSEL", "SP1"), Saved("LAB:FU1:SPSEL", "SP2", ""),
         "LAB:FU1:SPSEL is SP1 and was SP2, which other settings depend on: put it back first"),
        (present("LAB:HV1:CH00:IRANGE", "LOW"), Saved("LAB:HV1:CH00:IRANGE", "MID", ""),
         "LAB:HV1:CH00:IRANGE: found 'MID' in the file, allowed: HIGH, LOW"),
        (present("LAB:HV1:CH00:IRANGE", "LOW"), Saved("LAB:HV1:CH00:IRANGE", 0, ""),
         "LAB:HV1:CH00:IRANGE: found 0 in the file, it has 'LOW'"),
    ],
)  # fmt: skip
def test_each_reason_why_there_can_be_no_plan_is_given(now: Present, then: Saved, error: str) -> None:
    assert one_error(now, then) == error


def test_a_file_is_matched_with_the_site() -> None:
    def chosen(*saved: Saved, prefix: str = "LAB") -> tuple[dict[str, Saved], list[str]]:
        return selected(Snapshot(prefix, 0.0, saved), SETTINGS, PLANT.aliases, "LAB")

    alias = Saved("CALO:PMT07:VSET", 5.0, "V")
    assert chosen(alias) == ({VSET: alias}, [])
    assert chosen(alias, Saved(VSET, 5.0, "V"))[1] == [f"{VSET}: {VSET} is in the file twice, once by its alias"]
    assert chosen(Saved("LAB:IOC:ARMED", "ARMED", ""), Saved("LAB:HV1:DISABLE", "ENABLED", ""))[1] == [
        "LAB:IOC:ARMED: the site has no such setting",
        "LAB:HV1:DISABLE: the site has no such setting",
    ]
    assert chosen(alias, prefix="HALL")[1] == ["it is of another site: found prefix HALL, the site has LAB"]
    assert chosen(alias, prefix="")[1] == []


def test_settings_are_chosen_by_name_alias_and_pattern() -> None:
    def names(*patterns: str) -> list[str]:
        return [one.record.name for one in matching(SETTINGS.values(), patterns, "LAB")]

    assert names("HV1:CH0*:VSET") == [VSET, "LAB:HV1:CH01:VSET"]
    assert names("LAB:IS1:CH00:VSET", "CALO:*:MAXV") == ["LAB:HV1:CH00:MAXV", "LAB:IS1:CH00:VSET"]
    assert names("NIX*") == []
    assert len(names()) == len(SETTINGS)


def test_every_setting_of_a_device_has_a_readback_and_no_command_is_one() -> None:
    def wrong(one: Setting) -> bool:
        return one.readback is None or one.record.name.endswith((":CMD", ":GO", ":ARMED", ":DISABLE", "REC:MODE"))

    assert [one.record.name for one in SETTINGS.values() if wrong(one)] == []
