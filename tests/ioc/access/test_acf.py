"""Access security files: EPICS base decides which it takes; what is wrong with others is reported in one sentence."""

from __future__ import annotations

import getpass
import grp
import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioc.access import Access
from ioc.access.acf import READ, WRITE, Acf, AcfError, load_acf, parse_acf
from tests.ioc.access import libcom

GOOD = [
    "ASG(X){RULE(1,WRITE)}",
    "UAG(a){b,c} HAG(h){x} ASG(X){RULE(1,WRITE,TRAPWRITE){UAG(a) HAG(h) CALC(A)}}",
    'ASG(X){INPU(a) RULE(1,WRITE){CALC("U=1")}}',
    "ASG(X){INPA(b)INPA(c)}",
    "ASG(X){RULE(+01,READ,NOTRAPWRITE)}",
    'UAG("a b"){"b\\"c", "@x"}',
    "UAG(a)#c\n{b} HAG(h)",
    "UAG(a){10.0.0.1, 1a, 1., 1e5, INPV, INPAB, -, 5-}",
    "ASG(DEFAULT) ASG(DEFAULT){RULE(1,READ)}",
    "ASG(X){RULE(1,READ){CALC(A) CALC(B)}}",
    "FOO(bar) FOO(){a,1,2.5} FOO(a,b){x(1){z} UAG(y)}",
    'ASG(X){RULE(1,WRITE){METHOD("ca",b){q}}}',
    "ASG(X){RULE(1,WRITE){ASG(1)} RULE(1,RPC,TRAPWRITE) RULE(1,write)}",
]

BAD = {
    "": "1: found end of file, expected ASG or HAG or UAG or a name",
    "UAG(a){": "1: found end of file, expected a name",
    "UAG(a){}": "1: column 8: found '}', expected a name",
    "UAG(a){1}": "1: column 8: found '1', expected a name",
    "UAG(a){+1.5e3}": "1: column 8: found '+1.5e3', expected a name",
    "\nUAG(a){INPA}": "2: column 8: found 'INPA', expected a name",
    "UAG(UAG)": "1: column 5: found 'UAG', expected a name",
    "UAG(a){@x}": "1: column 8: found '@'",
    "UAG(a){b c}": "1: column 10: found 'c', expected ',' or '}'",
    'UAG("a\nb")': "1: column 5: found '\"'",
    "UAG(a) UAG(a)": "1: UAG a is defined already",
    "HAG(a)\nHAG(a)": "2: HAG a is defined already",
    "ASG(a) ASG(a)": "1: ASG a is defined already",
    "ASG(DEFAULT){RULE(1,READ)} ASG(DEFAULT)": "1: ASG DEFAULT is defined already",
    "ASG(X){}": "1: column 8: found '}', expected INPA to INPU or RULE",
    "ASG(X){FOO(1)}": "1: column 8: found 'FOO', expected INPA to INPU or RULE",
    "ASG(X){RULE(-1,READ)}": "1: found level -1, allowed: 0 or more",
    "ASG(X){RULE(1.5,READ)}": "1: column 13: found '1.5', expected a whole number",
    "ASG(X){RULE(1,WRITE,FOO)}": "1: found FOO, allowed: TRAPWRITE or NOTRAPWRITE",
    "UAG(a){b}\nASG(X){RULE(1,READ){\nUAG(q)}}": "3: found UAG q, allowed: those defined before (a)",
    "ASG(X){RULE(1,READ){HAG(q)}}": "1: found HAG q, allowed: those defined before (none)",
    'ASG(X){RULE(1,READ){CALC("A:=1")}}': '1: found CALC "A:=1": an assignment is not allowed',
    'ASG(X){RULE(1,READ){CALC("A+")}}': '1: found CALC "A+": an operand is missing',
    'ASG(X){RULE(1,READ){CALC("X=1")}}': "1: found CALC \"X=1\": not understood at 'X=1'",
}


def mistakes(text: str) -> list[str]:
    try:
        parse_acf(text, "site.acf")
    except AcfError as error:
        return error.errors
    return []


def test_what_base_takes_is_taken() -> None:
    assert libcom.accepted(GOOD) == [True] * len(GOOD)
    assert [mistakes(text) for text in GOOD] == [[]] * len(GOOD)


def test_what_base_refuses_is_refused_with_line_and_reason() -> None:
    assert libcom.accepted([*BAD]) == [False] * len(BAD)
    for text, reason in BAD.items():
        assert mistakes(text)[0].startswith(f"site.acf:{reason}"), text


def test_all_mistakes_come_at_once() -> None:
    assert len(mistakes("UAG(a) UAG(a)\nASG(X){RULE(1,READ){UAG(b) HAG(c)}}")) == 3


@given(st.lists(st.sampled_from([*"(){},\n", *"UAG HAG ASG RULE CALC INPA a 1 1.5 READ #".split(), '"A"'])))  # noqa: SIM905
def test_any_text_is_a_file_or_a_list_of_mistakes(words: list[str]) -> None:
    with suppress(AcfError):
        parse_acf(" ".join(words), "site.acf")


def test_what_is_for_newer_servers_is_read_over_and_named() -> None:
    acf = parse_acf('FOO(bar)\nASG(X){RULE(1,WRITE){METHOD("ca")}\nRULE(1,RPC) RULE(0,READ)}', "site.acf")
    assert [rule.grant for rule in acf.group("X").rules] == [READ]
    assert acf.warnings == [
        "site.acf:1: FOO is not known here and is read over",
        "site.acf:2: a RULE with METHOD never applies",
        "site.acf:3: a RULE that grants RPC never applies, allowed: NONE, READ, WRITE",
    ]


def members(acf: Acf) -> list[frozenset[str] | None]:
    (rule,) = acf.group("X").rules
    return [rule.users, rule.hosts]


@pytest.mark.parametrize("name", ["BAD NAME", "", "Ä", "X.{nix}"])
def test_a_PV_that_cannot_be_searched_for_is_a_mistake(name: str) -> None:
    (mistake,) = mistakes(f'ASG(X){{\nINPA("{name}") RULE(1,READ)}}')
    assert mistake.startswith(f'site.acf:2: found INPA "{name}": PV name ')


def test_macros_are_those_of_the_site_file() -> None:
    text = '# $(NOT) $(USED)\nUAG($(A)){${B=ben},x-$(A)} ASG(X){RULE(1,WRITE){UAG("hall")}}'
    assert members(parse_acf(text, "f", {"A": "hall"})) == [{"ben", "x-hall"}, None]
    with pytest.raises(AcfError, match=r"f:2: found macro A, allowed: B"):
        parse_acf(text, "f", {"B": "x"})


def test_a_name_with_at_stands_for_a_group_of_the_system() -> None:
    own = grp.getgrgid(os.getgid()).gr_name
    acf = parse_acf(f'UAG(a){{"@{own}", zoe, "@no-such-group"}} ASG(X){{RULE(1,WRITE){{UAG(a)}}}}', "f")
    users, _ = members(acf)
    assert users is not None
    assert {"zoe", getpass.getuser()} <= users
    assert acf.warnings == ["f:1: no-such-group is not a group of this computer"]


def test_hosts_are_names_in_small_letters_or_addresses() -> None:
    text = 'HAG(a){LocalHost, 10.1.2.3, "no-such-host.invalid"} ASG(X){RULE(1,WRITE){HAG(a)}}'
    assert members(parse_acf(text, "f"))[1] == {"localhost", "10.1.2.3", "no-such-host.invalid"}
    acf = parse_acf(text, "f", client_ip=True)
    assert members(acf)[1] == {"127.0.0.1", "10.1.2.3"}
    assert acf.warnings == ["f:1: host no-such-host.invalid has no known address"]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(AcfError, match=r"none\.acf: cannot be read: No such file"):
        load_acf(Access(acf=tmp_path / "none.acf"))
    (tmp_path / "latin.acf").write_bytes(b"UAG(\xe4)")
    with pytest.raises(AcfError, match=r"latin\.acf: cannot be read"):
        load_acf(Access(acf=tmp_path / "latin.acf"))
    (tmp_path / "good.acf").write_text("ASG(X){RULE(1,WRITE)}")
    assert load_acf(Access(acf=tmp_path / "good.acf")).group("X").rules[0].grant == WRITE
