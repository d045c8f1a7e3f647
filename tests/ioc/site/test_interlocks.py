"""The ``[[interlock]]`` sections: what they become, and every mistake with its key."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioc.site.check import mistakes
from ioc.site.conditions import leaves
from ioc.site.config import SiteError, only, parse_site
from ioc.site.expansion import expand
from tests.ioc.site.test_groups import HV, HV2, JSON

OVEN = {
    "name": "FURN1",
    "type": "eurotherm-3200",
    "address": "serial:///dev/ttyUSB0",
    "safe_temperature": 20.0,
}
GROUP = {"name": "GEM", "members": ["GEM:*"]}
HOT: dict[str, Any] = {"name": "HOT", "condition": "FURN1:TEMP < 80 C", "action": "off", "members": ["GEM:*"]}


def site(*interlocks: dict[str, Any]) -> dict[str, Any]:
    return {
        "site": {"prefix": "LAB"}, "device": [HV, HV2, OVEN], "group": [GROUP], "interlock": list(interlocks)
    }  # fmt: skip


def found(**keys: Any) -> list[str]:
    section = {key: value for key, value in {**HOT, **keys}.items() if value is not None}
    return [str(one) for one in mistakes(site(section))]


def test_an_interlock_knows_its_members_and_its_inputs_by_their_full_names() -> None:
    text = "FURN1:TEMP < 80 and GEM:G3:VMON > 1 V and LAB2:GAS:FLOW > 5 and IOC:HEARTBEAT changes within 5 s"
    (interlock,) = parse_site(site({**HOT, "condition": text, "act_after": 2})).interlocks
    names = ["LAB:FURN1:TEMP", "GEM:G3:VMON", "LAB2:GAS:FLOW", "LAB:IOC:HEARTBEAT"]
    assert [leaf.pv for leaf in leaves(interlock.condition)] == names
    assert [member.base for member in interlock.members] == ["HV1:CH00", "HV1:CH01"]
    assert (interlock.act_after, interlock.ok_after, interlock.latch, interlock.bypass) == (2.0, 0.0, True, 600.0)


def test_an_interlock_has_its_records() -> None:
    names = [name for name in expand(parse_site(site(HOT))).records if ":ILK:" in name]
    assert names == [f"LAB:ILK:HOT:{suffix}" for suffix in ("OK", "MSG", "BYPASS", "ACK:CMD")]


def test_it_is_served_where_what_it_acts_on_is() -> None:
    whole = parse_site(site(HOT, {**HOT, "name": "BOTH", "members": ["HV1:CH03", "HV2:CH03"]}))
    with pytest.raises(SiteError, match="--only: interlock BOTH needs HV2, too"):
        only(whole, ["HV1", "FURN1"])
    assert only(whole, ["FURN1"]).interlocks == ()


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"condition": "FURN1:TEMP << 80"}, "interlock HOT.condition: column 13: found <, allowed: conditions like"),
        ({"condition": "FURN1:TEPM < 80"}, "found FURN1:TEPM, which is no PV of FURN1; did you mean FURN1:TEMP?"),
        ({"condition": "LAB:FURN1:TEPM < 80"}, "which is no PV of FURN1"),
        ({"condition": "GEM:G3:VMN < 80"}, "found GEM:G3:VMN, which is no PV of HV1"),
        ({"condition": "HV1:CH07:VMON < 80"}, "found HV1:CH07:VMON, which is no PV of HV1"),
        ({"condition": "FURN1:TEMP < 80 K"}, "found FURN1:TEMP in K, allowed: C"),
        ({"condition": "GEM:G3:ON:RBV == ONN"}, "found GEM:G3:ON:RBV == ONN, allowed: OFF, ON"),
        ({"condition": "GEM:G3:VMON == ON"}, "allowed: a number, since GEM:G3:VMON is one"),
        ({"condition": "HV1:BD:NAME == 5"}, "but that is a text"),
        ({"action": "offf"}, 'interlock HOT.action: found "offf", allowed: "refuse", "ramp-down"'),
        ({"members": ["GEN:*"]}, 'interlock HOT.members: found "GEN:*", which is no channel of high voltage'),
        ({"members": ["FURN1"]}, "which is no channel of high voltage"),
        ({"action": "safe"}, 'found "GEM:*", which is no furnace'),
        ({"members": None}, "interlock HOT: found none of the two, allowed: members = [...] or group = NAME"),
        ({"group": "GEM"}, "found both, allowed"),
        ({"group": "GEN", "members": None}, 'found "GEN", allowed: GEM; did you mean GEM?'),
        ({"action": "standby"}, 'found "standby", which needs group = NAME'),
        ({"action": "standby", "group": "GEM", "members": None}, "but group GEM has no standby values"),
        ({"act_after": -1}, "interlock HOT.act_after: found -1"),
        ({"latch": "no"}, "interlock HOT.latch: found"),
        ({"colour": 1}, "interlock HOT.colour: unknown key"),
    ],
)  # fmt: skip
def test_each_mistake_names_its_key_and_what_is_allowed(keys: dict[str, Any], text: str) -> None:
    assert any(text in one for one in found(**keys)), found(**keys)


def test_two_interlocks_of_one_name_are_refused() -> None:
    texts = [str(one) for one in mistakes(site(HOT, HOT))]
    assert 'interlock HOT (number 2).name: found "HOT", which is already an interlock' in texts


KEYS = ("name", "condition", "action", "members", "group", "act_after", "ok_after", "latch", "bypass_seconds")


@given(st.dictionaries(st.sampled_from(KEYS), JSON))
def test_any_contents_are_accepted_or_refused_with_reasons(section: dict[str, Any]) -> None:
    data = site({**HOT, **section})
    assert bool(mistakes(data)) or parse_site(data).interlocks
