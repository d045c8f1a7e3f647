"""The record of power interruptions on disk: read, refused, put aside."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.eurotherm.power_record import Interruption, PowerRecord, Sample
from devices.eurotherm.power_report import report
from devices.rules.state_file import StateFile
from tests.devices.eurotherm.power_rig import HOT, record, see


@pytest.mark.parametrize(
    "fields",
    [
        {"time": None},
        {"time": "x"},
        {"flag": 3},
        {"temp": "hot"},
        {"mode": 7},
        {"left": [1]},
        {"more": 1},
        {"temp": True},
    ],
)
def test_a_reading_on_disk_that_is_none_is_refused(fields: dict[str, object]):
    good = {"time": 1.0, "flag": False}
    assert Sample.from_json(good) == Sample(1.0, False)
    with pytest.raises((TypeError, ValueError)):
        Sample.from_json(good | fields)


@pytest.mark.parametrize(
    "fields", [{"lasted": "x"}, {"link": 3}, {"lowest": float("nan")}, {"back": 1e300}, {"traces": None}, {"kind": "?"}]
)
def test_an_event_on_disk_that_is_none_is_refused_and_changes_nothing(fields: dict[str, object]):
    power = record()
    see(power, replace(HOT, time=1095.0, flag=True))
    stored = power.as_json()
    stored["history"][0] |= fields
    again = PowerRecord(quiet=5.0)
    with pytest.raises((KeyError, TypeError, ValueError)):
        again.restore(json.loads(json.dumps(stored)))
    assert (again.count, again.history) == (0, [])


samples = st.builds(
    Sample,
    time=st.floats(0, 1e10),
    flag=st.booleans(),
    temp=st.none() | st.floats(-200, 3000),
    target=st.none() | st.floats(-200, 3000),
    output=st.none() | st.floats(0, 100),
    mode=st.sampled_from(["", "AUTO", "MANUAL"]),
    remote=st.sampled_from(["", "LOCAL", "REMOTE"]),
    program=st.sampled_from(["", "RESET", "RUN", "HOLD", "END"]),
    left=st.none() | st.floats(0, 1e6),
    boot=st.sampled_from(["", "a", "b"]),
    uptime=st.none() | st.floats(0, 1e9),
    dated=st.booleans(),
)


@given(st.lists(samples, max_size=12))
def test_any_history_can_be_reported_and_survives_the_disk(readings: list[Sample]):
    power = PowerRecord(quiet=5.0)
    for reading in readings:
        see(power, reading)
    again = PowerRecord(quiet=5.0)
    again.restore(json.loads(json.dumps(power.as_json())))
    assert (again.count, again.latched, again.history) == (power.count, power.latched, power.history)
    for event in power.history:
        assert len(report(event)) < 1000
        assert Interruption.from_json(event.as_json()) == event


async def test_a_state_file_survives_and_a_broken_one_is_put_aside(tmp_path: Path):
    path = tmp_path / "deep" / "x.json"
    file = StateFile(path)
    assert await file.load() is None
    for n in range(5):
        file.save({"n": n})
    await file.flush()
    assert await StateFile(path).load() == {"n": 4}
    assert file.writes <= 2  # of those that came while one was being written only the newest counts
    path.write_text('{"n": 4')
    assert await StateFile(path).load() is None
    assert path.with_suffix(".bad").read_text() == '{"n": 4'
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["x.bad"]


async def test_a_folder_that_cannot_be_written_is_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "file").write_text("")
    file = StateFile(tmp_path / "file" / "x.json")
    for n in range(3):
        file.save({"n": n})
        await file.flush()
    assert len(caplog.records) == 1


async def test_without_a_path_nothing_is_kept():
    file = StateFile(None)
    file.save({})
    await file.flush()
    assert await file.load() is None


def test_a_lower_temperature_is_to_be_saved_some_time_and_the_end_of_the_recovery_at_once():
    power = record()
    see(power, replace(HOT, time=1095.0, flag=True, temp=590.0))
    power.changed = power.moved = False  # as by who saves them
    see(power, replace(HOT, time=1096.0, flag=True, temp=580.0))
    assert (power.changed, power.moved) == (False, True)
    power.moved = False
    see(power, replace(HOT, time=1097.0, flag=True, temp=585.0))
    assert (power.changed, power.moved) == (False, False)
    see(power, replace(HOT, time=1098.0, flag=True))
    assert power.changed
