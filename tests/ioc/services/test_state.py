"""What clients tune at run time: kept on disk, and in force again after a restart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ioc.automation.recovery import Recoveries
from ioc.database.dbfile import RecordDef
from ioc.puts import PutPath
from ioc.records import PutContext, PutRefused, RecordSet, fields_of
from ioc.scan.device_records import DeviceStatus
from ioc.services.journal import Entry
from ioc.services.state import StateStore, is_kept
from ioc.services.statistics import IocStatistics
from ioc.site.config import only, parse_site
from ioc.site.expansion import expand
from tests.ioc.fakes import EPOCH, FakeClock, FakeDriver
from tests.ioc.services.state_rig import DEVICE, NOW, VMON, file, keep, names_in, put, saved, site, started


async def test_what_a_client_puts_is_there_after_a_restart(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with started(tmp_path, site()) as records:
        put(records[VMON], "HIHI", 1450.5)
        put(records[VMON], "HHSV", 1)
        put(records["LAB:IOC:LAG"], "HIGH", 300)
    assert saved(tmp_path)[f"{VMON}.HIHI"] == {
        "value": "1450.5",
        "site": "1500",
        "when": NOW,
        "by": "ann@desk",
    }
    assert saved(tmp_path, "IOC").keys() == {"LAB:IOC:LAG.HIGH"}
    assert f"{VMON}.HIHI: 1500 -> 1450.5 by ann@desk" in caplog.text
    async with started(tmp_path, site()) as records:
        assert records[VMON].get("HIHI") == 1450.5
        assert records[VMON].get("HHSV") == 1
        assert records["LAB:HV1:CH01:VMON"].get("HIHI") == 1500
        assert records["LAB:IOC:LAG"].get("HIGH") == 300
    assert f"{VMON}.HIHI 1500 from the site file, 1450.5 as tuned on {NOW} by ann@desk is in force" in caplog.messages


@pytest.mark.parametrize("field", ["HIHI", "HIGH", "LOW", "LOLO", "HHSV", "HSV", "LSV", "LLSV", "HYST"])
@pytest.mark.parametrize("name", [VMON, "LAB:HV1:CH00:VSET", "LAB:HV1:BD:ALARM"])
async def test_each_threshold_of_each_kind_of_number_is_kept(tmp_path: Path, name: str, field: str) -> None:
    async with started(tmp_path, site()) as records:
        before = records[name].get(field)
        put(records[name], field, 3)
        assert records[name].get(field) != before
    async with started(tmp_path, site()) as records:
        assert records[name].get(field) == 3


@pytest.mark.parametrize(
    ("name", "field", "value", "usual"),
    [
        (VMON, "ADEL", 2.5, "0.5"),
        (VMON, "MDEL", 7, "0"),
        (VMON, "HOPR", 4000, "0"),
        (VMON, "SCAN", "10 second", "1 second"),
        (VMON, "DISP", 1, "0"),
        (VMON, "DISS", "MAJOR", "NO_ALARM"),
        (VMON, "DESC", "Voltage of the first tube", "Measured voltage"),
        ("LAB:HV1:CH00:TRIP", "OSV", "MINOR", "MAJOR"),
        ("LAB:HV1:CH00:STATE", "FRSV", "MAJOR", "MINOR"),
    ],
)
async def test_whatever_field_a_client_may_change_is_kept(
    tmp_path: Path, name: str, field: str, value: float | str, usual: str
) -> None:
    async with started(tmp_path, site()) as records:
        put(records[name], field, value)
        tuned = records[name].get(field)
    assert saved(tmp_path)[f"{name}.{field}"]["site"] == usual
    async with started(tmp_path, site()) as records:
        assert records[name].get(field) == tuned


@pytest.mark.parametrize(
    ("name", "field"),
    [("LAB:HV1:BD:ALARM", "LOW"), ("LAB:HV1:CH00:REC:TRIES", "HYST"), (VMON, "PREC"), (VMON, "LOW")],
)
async def test_a_number_below_0_is_kept(tmp_path: Path, name: str, field: str) -> None:
    async with started(tmp_path, site()) as records:
        put(records[name], field, -5)
    async with started(tmp_path, site()) as records:
        assert records[name].get(field) == -5


async def test_a_text_in_another_encoding_is_kept_and_disturbs_no_later_put(tmp_path: Path) -> None:
    desc, text = fields_of("ai")["DESC"], b"Resistance in k\xd9"
    async with started(tmp_path, site()) as records:
        for name in (VMON, "LAB:HV1:CH01:VMON"):
            records[name].put_by(desc, records[name].convert(desc, text), PutContext("ann", "desk", ("10.0.0.7", 1)))
        put(records[VMON], "HIHI", 1450)
    async with started(tmp_path, site()) as records:
        assert str(records[VMON].get("DESC")).encode("utf-8", "surrogateescape") == text
        assert records[VMON].get("HIHI") == 1450


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("DISA", 1), ("DISV", 0), ("UDF", 0), ("UDFS", "NO_ALARM"), ("FLNK", "LAB:HV1:CH01:VMON"), ("PROC", 1),
        ("ASG", "EXPERT"),
    ],
)  # fmt: skip
async def test_what_lasts_a_moment_is_not_kept(tmp_path: Path, field: str, value: float | str) -> None:
    async with started(tmp_path, site()) as records:
        put(records[VMON], field, value)
    assert names_in(tmp_path) == []


async def test_a_display_range_that_a_client_chose_wins_over_that_of_the_device(tmp_path: Path) -> None:
    name = "LAB:HV1:CH00:VSET"
    async with started(tmp_path, site()) as records:
        put(records[name], "HOPR", 700)
        put(records[name], "PREC", 3)
    async with started(tmp_path, site()) as records:
        records[name].set_drive_limits(0, 3000)
        records[name].set_precision(1)
        assert (records[name].get("HOPR"), records[name].get("PREC"), records[name].get("DRVH")) == (700, 3, 3000)
        put(records[name], "HOPR", 0)
        records[name].set_drive_limits(0, 2000)
        assert records[name].get("HOPR") == 2000


async def test_what_the_server_or_the_driver_sets_is_not_a_tuning(tmp_path: Path) -> None:
    async with started(tmp_path, site()) as records:
        records[VMON].post(2000.0, 1.0)
        records[VMON].set_precision(2)
        records["LAB:HV1:CH00:VSET"].set_drive_limits(0, 100)
    assert names_in(tmp_path) == []


async def test_a_refused_put_is_not_kept(tmp_path: Path) -> None:
    async with started(tmp_path, site()) as records:
        put(records[VMON], "DISP", 1)
        with pytest.raises(PutRefused):
            put(records[VMON], "HIHI", 1)
    assert saved(tmp_path).keys() == {f"{VMON}.DISP"}


async def test_the_value_of_the_site_file_put_again_ends_the_tuning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with started(tmp_path, site()) as records:
        put(records[VMON], "HIHI", 1450)
        put(records[VMON], "HIHI", 1500)
    assert saved(tmp_path) == {}
    assert f"{VMON}.HIHI: 1450 -> 1500, as in the site file, by ann@desk" in caplog.text


async def test_when_the_site_file_has_changed_since_it_wins(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with started(tmp_path, site()) as records:
        put(records[VMON], "HIHI", 1450)
        put(records[VMON], "HIGH", 1400)
    async with started(tmp_path, site(1600)) as records:
        assert records[VMON].get("HIHI") == 1600
        assert records[VMON].get("HIGH") == 1400, "the site file says nothing else about this one"
    assert (
        f"{VMON}.HIHI 1600 from the site file, where it was 1500 before: the 1450 that ann@desk tuned it to on "
        f"{NOW} is dropped" in caplog.messages
    )
    assert saved(tmp_path).keys() == {f"{VMON}.HIGH"}


async def test_a_server_that_does_not_start_changes_nothing(tmp_path: Path) -> None:
    async with started(tmp_path, site()) as records:
        put(records[VMON], "HIHI", 1450)
    before = file(tmp_path).read_text()
    other = RecordSet.build(expand(site(1600)).records.values())
    await StateStore(site(1600), other, tmp_path, FakeClock()).close()
    assert file(tmp_path).read_text() == before
    async with started(tmp_path, site()) as records:
        assert records[VMON].get("HIHI") == 1450


async def test_an_equal_value_written_in_another_way_is_no_change(tmp_path: Path) -> None:
    async with started(tmp_path, site(1500)) as records:
        put(records[VMON], "HIHI", 1450)
    async with started(tmp_path, site(1500.0)) as records:
        assert records[VMON].get("HIHI") == 1450


async def test_what_is_not_served_now_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    whole = site(names=("HV1", "HV2"))
    async with started(tmp_path, whole) as records:
        put(records["LAB:HV1:CH01:VMON"], "HIHI", 1400)
        put(records["LAB:HV2:CH01:VMON"], "HIHI", 1450)
    async with started(tmp_path, only(site(names=("HV1", "HV2"), channels=1), ["HV1"])) as records:
        put(records[VMON], "HIHI", 1300)
    assert "LAB:HV1:CH01:VMON.HIHI: not served, its tuned value 1400 stays in the file" in caplog.text
    async with started(tmp_path, whole) as records:
        found = [records[name].get("HIHI") for name in (VMON, "LAB:HV1:CH01:VMON", "LAB:HV2:CH01:VMON")]
        assert found == [1300, 1400, 1450]


async def test_what_was_tuned_on_a_simulator_does_not_get_to_the_real_device(tmp_path: Path) -> None:
    async with started(tmp_path, site(simulated=True)) as records:
        put(records[VMON], "HIHI", 1)
    async with started(tmp_path, site()) as records:
        assert records[VMON].get("HIHI") == 1500
    async with started(tmp_path, site(simulated=True)) as records:
        assert records[VMON].get("HIHI") == 1


async def test_no_value_of_a_record_with_a_device_behind_it_is_kept_whoever_puts(tmp_path: Path) -> None:
    records = RecordSet.build(expand(site()).records.values())
    store = StateStore(site(), records, tmp_path, FakeClock())
    for name, record in records.items():
        if not isinstance(record.val, tuple):
            record.post(record.val, EPOCH)
        for pv in (name, f"{name}.VAL"):
            store.note(Entry(EPOCH, pv, "ann", "desk", "10.0.0.7", "0", "1"))
    store.note(Entry(EPOCH, "LAB:OTHER:GROUP", "ann", "desk", "10.0.0.7", "0", "1"))
    kept = [name for name, record in records.items() if is_kept(record, fields_of(record.rtyp)["VAL"])]
    own = [name for name in records if name.endswith((":ARMED", ":ACCESS", ":DISABLE", ":REC:TRIES"))]
    assert kept == own, "settings of the server itself"
    await store.close()
    assert names_in(tmp_path) == [], "both are as in the template"


@pytest.mark.parametrize("keys", [set(), {"ARMED"}, {"DISABLE"}, {"ARMED", "DISABLE"}])
async def test_a_server_that_was_disarmed_and_a_device_that_was_disabled_stay_so(
    tmp_path: Path, keys: set[str]
) -> None:
    names = {"ARMED": ("IOC", "LAB:IOC:ARMED", "DISARMED", "ARMED"),
             "DISABLE": ("HV1", "LAB:HV1:DISABLE", "DISABLED", "ENABLED")}  # fmt: skip
    found: dict[str, Any] = {}
    for section, name, value, usual in (names[key] for key in sorted(keys)):
        found[section] = {name: {"value": value, "site": usual, "when": "2026-11-21 07:00:00", "by": "ann@desk"}}
    file(tmp_path).write_text(json.dumps(found))
    of, clock = site(), FakeClock()
    records = RecordSet.build(expand(of).records.values())
    StateStore(of, records, tmp_path, clock)
    own = [record for record in records.values() if record.device == "IOC"]
    assert IocStatistics(own, clock, {}).armed == ("ARMED" not in keys)
    driver = FakeDriver(clock, {})
    mine = [record for record in records.values() if record.name == "LAB:HV1:DISABLE"]
    assert DeviceStatus(driver, mine, clock).disabled == ("DISABLE" in keys)


async def test_the_value_of_a_setting_of_the_server_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def records() -> RecordSet:
        fields = {"DRVL": "0", "DRVH": "10"}
        return RecordSet.build([RecordDef("LAB:HV1:CH00:REC:TRIES", "longout", fields, {"keep": "3"}, (), "x", 1, {})])

    first = records()
    store = StateStore(site(), first, tmp_path, FakeClock())
    name, record = next(iter(first.items()))
    record.put(fields_of("longout")["VAL"], 5)
    store.note(Entry(EPOCH, f"{name}.VAL", "ann", "desk", "10.0.0.7", "3", "5"))
    await store.close()
    assert saved(tmp_path)[name] == {"value": "5", "site": "3", "when": NOW, "by": "ann@desk"}
    second = records()
    StateStore(site(), second, tmp_path, FakeClock())
    assert (second[name].val, second[name].udf) == (5, False)
    keep(tmp_path, {name: saved(tmp_path)[name] | {"value": "11"}})
    third = records()
    StateStore(site(), third, tmp_path, FakeClock())
    assert third[name].val == 3
    assert f"{name}: the entry cannot be used: 11 is outside 0 .. 10; it is left as it is" in caplog.text


@pytest.mark.parametrize(("tries", "in_force"), [(4, 2), (3, 3)])
async def test_the_attempts_of_a_recovery_are_kept_until_the_site_file_says_otherwise(
    tmp_path: Path, tries: int, in_force: int
) -> None:
    of = parse_site({"site": {"prefix": "LAB"}, "device": [DEVICE],
                     "recovery": {"channels": ["HV1:CH00"], "tries": tries}})  # fmt: skip
    names = [f"LAB:HV1:CH{number:02d}:REC:TRIES" for number in range(2)]
    entry = {"value": "2", "site": "4", "when": "2026-11-21 07:00:00", "by": "ann@desk"}
    keep(tmp_path, {names[0]: entry})
    async with started(tmp_path, of) as records:
        clock = FakeClock()
        Recoveries(of, records, PutPath({}, IocStatistics([], clock, {}), clock), clock)
        assert [records[name].val for name in names] == [in_force, 1]
        assert records["LAB:HV1:CH00:REC:MODE"].val == 0, "never armed by a restart"
