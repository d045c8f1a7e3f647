"""The recovery from trips in the site file, in the whole server, and together with groups and interlocks."""

from __future__ import annotations

import pytest

from ioc.automation.recovery import ARMED, NOT_ASKED_FOR, Recoveries
from ioc.records import PutContext, PutRefused, RecordSet
from ioc.records.fieldtable import fields_of
from ioc.site.config import SiteError, parse_site
from tests.ioc.app_rig import running as app_running
from tests.ioc.automation.plant import Plant
from tests.ioc.automation.recovery_rig import Rig
from tests.ioc.fakes import build, definition

# ---- the site file, and the whole server


def test_the_section_names_channels_by_name_and_alias() -> None:
    device = {
        "name": "HV1",
        "type": "caen-dt55xx",
        "address": "tcp://127.0.0.1:1",
        "channel": {"2": {"alias": "CALO:A"}},
    }
    data = {
        "site": {"prefix": "LAB"},
        "device": [device],
        "recovery": {"channels": ["CALO:*", "LAB:HV1:CH00"], "wait": 30},
    }
    found = parse_site(data).recovery
    assert sorted(found) == ["HV1:CH00", "HV1:CH02"]
    assert (found["HV1:CH00"].wait, found["HV1:CH00"].per_hour) == (30, 3)


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ({}, "recovery.channels: missing"),
        ({"channels": ["CALO:*"]}, 'recovery.channels[0]: found "CALO:*", which is no channel that can be recovered'),
        ({"channels": ["HV2:CH00"]}, "which is no channel that can be recovered"),
        ({"channels": ["FURN1"]}, "which is no channel that can be recovered"),
        ({"channels": ["HV1:*"], "wait": 1}, "recovery.wait: found 1, allowed"),
        ({"channels": ["HV1:*"], "fraction": 1.5}, "recovery.fraction: found 1.5"),
        ({"channels": ["HV1:*"], "tries": 0}, "recovery.tries: found 0"),
        ({"channels": ["HV1:*"], "trys": 1}, "recovery.trys"),
        ({"channels": "HV1:*"}, "recovery.channels"),
    ],
)
def test_mistakes_of_the_section_are_named(section: dict[str, object], text: str) -> None:
    address = "tcp://127.0.0.1:"
    devices = [
        {"name": "HV1", "type": "caen-dt55xx", "address": f"{address}1"},
        {"name": "HV2", "type": "caen-dt55xx", "address": f"{address}2", "readonly": True},
        {"name": "FURN1", "type": "eurotherm-3200", "address": "serial:///dev/null", "unit": 1},
    ]
    with pytest.raises(SiteError) as error:
        parse_site({"site": {"prefix": "LAB"}, "device": devices, "recovery": section})
    assert any(text in one for one in error.value.errors), error.value.errors


def test_an_interlock_that_is_not_OK_speaks_against_every_recovery() -> None:
    rig = Rig()
    (interlock,) = build([definition("LAB:ILK:DOOR:OK", "bi", "", "R")]).values()
    records = RecordSet({**rig.records, interlock.name: interlock}, {}, rig.clock.time)
    device = {"name": "HV1", "type": "caen-dt55xx", "address": "tcp://127.0.0.1:1", "channels": 1}
    site = parse_site({"site": {"prefix": "LAB"}, "device": [device], "recovery": {"channels": ["HV1:*"]}})
    objection, _ = Recoveries(site, records, rig.puts, rig.clock).objections
    for value, severity, expected in ((1, 0, ""), (0, 2, "the interlock LAB:ILK:DOOR:OK is not OK"), (1, 3, "not OK")):
        interlock.post(value, rig.clock.time(), severity, 0)
        assert expected in objection("LAB:HV1:CH00")
        assert bool(expected) == bool(objection("LAB:HV1:CH00"))


@pytest.mark.parametrize("tag", ["maybe", "0"])
def test_a_tag_on_the_wrong_record_is_a_mistake_of_the_template(tag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from ioc.site import expansion

    wrong = definition("LAB:HV1:X", "ai", "HV1 X", "R")
    wrong.info["recovery"] = tag
    assert list(expansion._recovery_errors(wrong, tag, ())) == [
        f"test.db:1: record LAB:HV1:X: found info(recovery, '{tag}') on a ai,"
        " allowed: identity, or cause, 0, 1 on a bi with DTYP labioc"
    ]


async def test_GIVEN_a_site_without_the_section_WHEN_armed_THEN_refused() -> None:
    async with app_running() as app:
        mode = app.records["LAB:HV1:CH00:REC:MODE"]
        with pytest.raises(PutRefused, match="the site file does not ask for it"):
            await mode.put_device(fields_of("mbbo")["VAL"], ARMED, PutContext("olga", "desk1"))
        assert (mode.val, app.records["LAB:HV1:CH00:REC:MSG"].val) == (0, NOT_ASKED_FOR)
        assert str(app.records["LAB:HV1:PUT:MSG"].val).startswith(NOT_ASKED_FOR)
        assert app.records["LAB:HV1:CH00:REC:LEFT"].sevr == 0
    assert [app.records[f"LAB:HV1:CH00:REC:{name}"].val for name in ("STATE", "TRIES", "LEFT")] == [0, 1, 1]


async def test_GIVEN_a_site_with_the_section_WHEN_armed_THEN_it_is_shown_and_in_the_journal() -> None:
    async with app_running(recovery={"channels": ["HV1:CH00"]}) as app:
        mode = app.records["LAB:HV1:CH00:REC:MODE"]
        await mode.put_device(fields_of("mbbo")["VAL"], ARMED, PutContext("olga", "desk1", ("127.0.0.1", 1)))
        assert (mode.val, app.records["LAB:HV1:CH00:REC:MSG"].val) == (ARMED, "armed")
        assert str(app.records["LAB:IOC:PUTS"].val).endswith("LAB:HV1:CH00:REC:MODE OFF -> ARMED")


async def test_GIVEN_a_group_of_the_channel_in_HOLD_WHEN_asked_THEN_it_speaks_against_the_recovery() -> None:
    device = {"name": "HV1", "type": "caen-dt55xx", "address": "tcp://127.0.0.1:1", "channels": 2}
    group = {"name": "GEM", "members": ["HV1:CH00"], "on": 500.0}
    plant = Plant(
        {"site": {"prefix": "LAB"}, "device": [device], "group": [group], "recovery": {"channels": ["HV1:*"]}}
    )
    async with plant.running():
        found = [one for one in plant.automation.recoveries.objections if one("LAB:HV1:CH00")]
        assert found == []
        await plant.put("GRP:GEM:HOLD:CMD", 1)
        found = [one("LAB:HV1:CH00") for one in plant.automation.recoveries.objections]
        assert "group GEM is in HOLD" in found
        assert not any(one("LAB:HV1:CH01") for one in plant.automation.recoveries.objections)
