"""The ``[[group]]`` sections: what they become, and every mistake with its key."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioc.site.check import mistakes
from ioc.site.config import SiteError, only, parse_site
from ioc.site.expansion import expand
from ioc.site.groups import KEEP, OFF, Neighbours

HV = {
    "name": "HV1",
    "type": "caen-dt55xx",
    "address": "tcp://127.0.0.1:23",
    "limits": {"VSET": [0, 3000]},
    "channel": {"0": {"alias": "GEM:DRIFT"}, "1": {"alias": "GEM:G3", "limits": {"VSET": [0, 900]}}},
}
HV2 = {**HV, "name": "HV2", "address": "tcp://127.0.0.1:24", "channel": {}}
OVEN = {"name": "FURN1", "type": "eurotherm-3200", "address": "serial:///dev/ttyUSB0"}
ARC: dict[str, Any] = {"name": "GEM", "members": ["GEM:*"]}


def site(*groups: dict[str, Any], devices: tuple[dict[str, Any], ...] = (HV, HV2, OVEN)) -> dict[str, Any]:
    return {"site": {"prefix": "LAB"}, "device": list(devices), "group": list(groups)}


def found(**keys: Any) -> list[str]:
    return [str(one) for one in mistakes(site({**ARC, **keys}))]


def test_members_are_found_by_alias_name_and_pattern_with_or_without_prefix() -> None:
    (group,) = parse_site(site({"name": "A", "members": ["GEM:*", "LAB:HV2:CH0[0-2]", "HV1:CH03"]})).groups
    assert list(group.members) == ["HV1:CH00", "HV1:CH01", "HV2:CH00", "HV2:CH01", "HV2:CH02", "HV1:CH03"]
    assert group.members["HV1:CH00"].title == "GEM:DRIFT"
    assert group.members["HV2:CH00"].targets == {"OFF": OFF, "ON": KEEP}
    assert group.stages == (tuple(group.members),)
    assert group.states == ("OFF", "ON")


def test_values_of_a_member_go_before_those_of_the_group_and_stages_follow_the_order() -> None:
    keys: dict[str, Any] = {
        "standby": 100,
        "on": 500,
        "order": ["GEM:G3", ["GEM:DRIFT"]],
        "member": {"GEM:G*": {"on": 800}, "HV1:CH00": {"standby": "off"}},
        "neighbours": [{"names": ["GEM:DRIFT", "GEM:G3"], "max_difference": 800}],
    }
    (group,) = parse_site(site({**ARC, **keys})).groups
    assert group.members["HV1:CH01"].targets == {"OFF": OFF, "STANDBY": 100.0, "ON": 800.0}
    assert group.members["HV1:CH00"].targets == {"OFF": OFF, "STANDBY": OFF, "ON": 500.0}
    assert group.stages == (("HV1:CH01",), ("HV1:CH00",))
    assert group.neighbours == (Neighbours(("HV1:CH00", "HV1:CH01"), 800.0),)
    assert (group.on_trip, group.timeout, group.devices) == ("hold", 3600.0, {"HV1"})


def test_a_group_has_its_records() -> None:
    names = [name for name in expand(parse_site(site(ARC))).records if name.startswith("LAB:GRP:GEM:")]
    suffixes = ["GO", "STATE", "PLAN:MSG", "PROGRESS", "HOLD:CMD", "MSG"]
    assert names == [f"LAB:GRP:GEM:{suffix}" for suffix in suffixes]


def test_a_group_is_served_whole_by_one_of_several_servers() -> None:
    whole = parse_site(site(ARC, {"name": "BOTH", "members": ["HV1:CH03", "HV2:CH03"]}))
    with pytest.raises(SiteError, match="--only: group BOTH needs HV2, too: one server moves all of it"):
        only(whole, ["HV1"])
    assert [group.name for group in only(whole, ["HV1", "HV2"]).groups] == ["GEM", "BOTH"]
    assert only(whole, ["FURN1"]).groups == ()


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"members": ["GEN:*"]}, 'group GEM.members: found "GEN:*", which is no channel or furnace'),
        ({"members": ["GEM:DRFT"]}, "did you mean GEM:DRIFT?"),
        ({"members": []}, "group GEM.members: found [], allowed: Names or aliases"),
        ({"name": "ALL"}, 'group ALL.name: found "ALL", which is that of everything off'),
        ({"name": "ALL_HV1"}, "which is that of everything off"),
        ({"on": 1000}, "group GEM.on: found 1000 for GEM:G3, allowed: 0 to 900 V (limits.VSET)"),
        ({"on": "kep"}, 'group GEM.on: found "kep", allowed: Setting in ON: a number in V or C, or "keep"'),
        ({"on": -5}, "group GEM.on: found -5, allowed"),
        ({"member": {"GEM:G3": {"on": 950}}}, "group GEM.member.GEM:G3.on: found 950 for GEM:G3"),
        ({"member": {"GEM:G4": {"on": 1}}}, 'member.GEM:G4: found "GEM:G4", which is no member of the group'),
        ({"member": {"GEM:G3": {"off": "keep"}}}, 'found "keep" for GEM:G3, allowed: "off"'),
        ({"standby": 100}, "group GEM.on: missing for GEM:DRIFT, allowed: a number, since STANDBY changes"),
        ({"member": {"GEM:G3": {"standby": 1, "on": 2}}}, "group GEM.standby: missing for GEM:DRIFT"),
        ({"order": ["GEM:DRIFT"]}, "group GEM.order: HV1:CH01 of the members missing"),
        ({"order": ["GEM:*", "GEM:G3"]}, 'order[1]: found "GEM:G3", but HV1:CH01 is in stage 1 already'),
        ({"order": ["GEM:*", "HV2:CH00"]}, 'order[1]: found "HV2:CH00", which is no member of the group'),
        ({"on_trip": "standby"}, 'group GEM.on_trip: found "standby", but the group has no standby values'),
        ({"on_trip": "ignore"}, 'group GEM.on_trip: found "ignore", allowed: "hold", "standby", "off"'),
        ({"speed": 1}, "group GEM.speed: unknown key"),
        ({"members": ["FURN1"]}, "FURN1 has no safe_temperature to go to"),
        ({"members": ["FURN1", "GEM:G3"], "on": 80}, "found 80 for members in V and in C, allowed: numbers by member"),
        (
            {"neighbours": [{"names": ["GEM:DRIFT", "GEM:G3"], "max_difference": 100}]},
            "neighbours[0].max_difference: GEM:DRIFT keeps its setting, allowed: numbers",
        ),
        (
            {
                "on": 500,
                "order": ["GEM:DRIFT", "GEM:G3"],
                "neighbours": [{"names": ["GEM:DRIFT", "GEM:G3"], "max_difference": 100}],
            },
            "GEM:DRIFT and GEM:G3 differ by 500 V from OFF to ON, stage 1, allowed: 100",
        ),
        (
            {"on": 500, "neighbours": [{"names": ["GEM:*", "GEM:G3"], "max_difference": 100}]},
            'neighbours[0].names: found "GEM:*", which is 2 channels, allowed: one channel each',
        ),
    ],
)  # fmt: skip
def test_each_mistake_names_its_key_and_what_is_allowed(keys: dict[str, Any], text: str) -> None:
    assert any(text in one for one in found(**keys)), found(**keys)


def test_two_groups_of_one_name_and_readonly_members_are_refused() -> None:
    texts = [str(one) for one in mistakes(site(ARC, ARC, devices=({**HV, "readonly": True},)))]
    assert 'group GEM (number 2).name: found "GEM", which is already a group' in texts
    assert "group GEM (number 1).members: GEM:DRIFT can't be moved, HV1 is readonly" in texts


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=True)
    | st.text(max_size=5)
    | st.sampled_from(["GEM:*", "HV1", "keep"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["GEM:*", "on", "names", "x"]), inner),
    max_leaves=8,
)
KEYS = ("name", "members", "standby", "on", "order", "on_trip", "timeout", "neighbours", "member")


@given(st.dictionaries(st.sampled_from(KEYS), JSON))
def test_any_contents_are_accepted_or_refused_with_reasons(section: dict[str, Any]) -> None:
    with suppress(SiteError):
        parse_site(site({**ARC, **section}))
