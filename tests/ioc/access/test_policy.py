"""Who may write what."""

from __future__ import annotations

import pytest

from ioc.access import Access, AccessPolicy, policy
from ioc.access.policy import is_own_address
from ioc.records import PutContext
from tests.ioc.fakes import build, definition

RECORDS = build(
    [
        definition("R", "ai", access="R"),
        definition("O", "ao", access="O"),
        definition("E", "ao", access="E"),
        definition("UNTAGGED", "ao"),
        definition("UNTAGGED_INPUT", "ai"),
    ]
)
SITE = AccessPolicy(Access(operators=("olga", "otto@desk1"), experts=("ed", "eva@Desk2")))
LOCAL, FAR = "127.0.0.1", "192.0.2.7"


def client(user: str = "anybody", host: str = "anywhere", address: str = FAR) -> PutContext:
    return PutContext(user, host, (address, 40000))


@pytest.mark.parametrize(
    ("record", "field", "user", "host", "allowed"),
    [
        ("R", "VAL", "ed", "desk1", False),
        ("R", "HIHI", "ed", "desk1", True),
        ("R", "HIHI", "olga", "desk1", False),
        ("R", "PROC", "olga", "desk1", True),
        ("R", "ACKS", "olga", "desk1", True),
        ("R", "ACKT", "nobody", "desk1", False),
        ("O", "VAL", "olga", "anywhere", True),
        ("O", "VAL", "otto", "desk1", True),
        ("O", "VAL", "otto", "DESK1", True),
        ("O", "VAL", "otto", "desk2", False),
        ("O", "VAL", "OLGA", "desk1", False),
        ("O", "VAL", "ed", "desk9", True),
        ("O", "VAL", "nobody", "desk1", False),
        ("O", "DISP", "olga", "desk1", False),
        ("O", "SCAN", "ed", "desk1", True),
        ("E", "VAL", "olga", "desk1", False),
        ("E", "VAL", "eva", "desk2", True),
        ("E", "VAL", "eva", "desk1", False),
        ("UNTAGGED", "VAL", "olga", "desk1", False),
        ("UNTAGGED", "VAL", "ed", "desk1", True),
        ("UNTAGGED_INPUT", "VAL", "ed", "desk1", False),
    ],
)
def test_roles(record: str, field: str, user: str, host: str, allowed: bool) -> None:
    reason = SITE.may_put(RECORDS[record], field, client(user, host))
    assert (reason is None) is allowed, reason


def test_the_reason_names_the_person_and_the_role() -> None:
    assert SITE.may_put(RECORDS["E"], "VAL", client("olga", "desk1")) == (
        "olga@desk1 is not an expert in the [access] section of the site file"
    )
    assert SITE.may_put(RECORDS["O"], "VAL", client("nobody", "x")) == (
        "nobody@x is not an operator in the [access] section of the site file"
    )
    assert SITE.may_put(RECORDS["R"], "VAL", client("ed", "x")) == "R is a read-only PV"


@pytest.mark.parametrize(
    ("access", "address", "allowed"),
    [
        (None, LOCAL, True),
        (None, FAR, False),
        (None, "", False),
        (None, "::1", True),
        (None, "::ffff:127.0.0.1", True),
        (Access(hosts=("192.0.2.0/24",)), "::ffff:192.0.2.7", True),
        (Access(write="local"), FAR, False),
        (Access(write="everybody"), FAR, True),
        (Access(hosts=()), FAR, False),
        (Access(hosts=("192.0.2.0/24",)), FAR, True),
        (Access(hosts=("10.0.0.1", "192.0.2.7")), FAR, True),
        (Access(hosts=("10.0.0.0/8",)), FAR, False),
        (Access(hosts=("10.0.0.0/8",)), "2001:db8::1", False),
        (Access(hosts=("10.0.0.0/8",)), LOCAL, True),
        (Access(experts=("anybody",)), FAR, True),
        (Access(experts=("anybody",), write="local"), FAR, False),
        (Access(experts=("anybody",), write="local"), LOCAL, True),
        (Access(experts=("anybody",), hosts=("192.0.2.0/24",)), FAR, True),
        (Access(experts=("somebody",), hosts=("192.0.2.0/24",)), FAR, False),
        (Access(experts=("anybody",), hosts=("10.0.0.0/8",)), FAR, False),
        (Access(operators=(), experts=()), LOCAL, False),
    ],
)
def test_addresses(access: Access | None, address: str, allowed: bool) -> None:
    judge, who = AccessPolicy(access), client(address=address)
    found = [
        *(judge.may_put(RECORDS["O"], field, who) for field in ("VAL", "PROC", "DISP", "ACKS", "HIGH")),
        *(judge.may_put_group(field, who) for field in ("", "HIGH")),
        judge.may_write_raw(who),
    ]
    assert {reason is None for reason in found} == {allowed}
    assert judge.may_put(RECORDS["R"], "VAL", who) is not None


def test_the_claimed_host_counts_for_nothing_where_addresses_decide() -> None:
    assert AccessPolicy().may_put(RECORDS["O"], "VAL", client(host="localhost")) is not None


def test_a_refusal_names_the_address_and_what_would_allow_it() -> None:
    assert AccessPolicy().may_put(RECORDS["O"], "VAL", client()) == (
        'only this computer may write, not 192.0.2.7; set hosts = ["192.0.2.0/24"] or write = "everybody" '
        "in [access] of the site file"
    )
    refused = AccessPolicy(Access(experts=("anybody",), write="local")).may_write_raw(client())
    assert refused is not None
    assert "everybody" not in refused  # a name is asked for: this would contradict the list
    assert AccessPolicy(Access(hosts=("10.0.0.1",))).may_write_raw(client()) == (
        "192.0.2.7 is not in hosts of the [access] section of the site file"
    )


@pytest.mark.parametrize(
    ("access", "summary"),
    [
        (None, "from this computer only"),
        (Access(hosts=("10.0.0.0/8",)), "from this computer and 10.0.0.0/8;"),
        (Access(write="everybody"), "writing is possible from every computer"),
        (Access(experts=()), "writing is possible by operators and experts from every computer"),
    ],
)
def test_the_rule_in_one_line(access: Access | None, summary: str) -> None:
    assert summary in AccessPolicy(access).summary


def test_own_addresses_are_those_of_the_network_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_own_address("127.0.0.9")
    assert not is_own_address(FAR)
    assert not is_own_address("0.0.0.0")
    monkeypatch.setattr(policy, "is_own_address", {FAR}.__contains__)
    assert AccessPolicy().may_put(RECORDS["O"], "VAL", client()) is None
