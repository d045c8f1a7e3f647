"""Who may write what."""

from __future__ import annotations

import pytest

from ioc.access import AccessPolicy
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
SITE = AccessPolicy(operators=["olga", "otto@desk1"], experts=["ed", "eva@Desk2"])


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
    reason = SITE.may_put(RECORDS[record], field, user, host)
    assert (reason is None) is allowed, reason


def test_the_reason_names_the_person_and_the_role() -> None:
    assert SITE.may_put(RECORDS["E"], "VAL", "olga", "desk1") == (
        "olga@desk1 is not an expert in the [access] section of the site file"
    )
    assert SITE.may_put(RECORDS["O"], "VAL", "nobody", "x") == (
        "nobody@x is not an operator in the [access] section of the site file"
    )
    assert SITE.may_put(RECORDS["R"], "VAL", "ed", "x") == "R is a read-only PV"


def test_without_the_section_everybody_may_write_what_can_be_written() -> None:
    policy = AccessPolicy()
    assert policy.may_put(RECORDS["E"], "VAL", "anybody", "anywhere") is None
    assert policy.may_put(RECORDS["R"], "HIHI", "anybody", "anywhere") is None
    assert policy.may_put(RECORDS["R"], "VAL", "anybody", "anywhere") is not None


def test_a_section_that_names_nobody_lets_nobody_write() -> None:
    policy = AccessPolicy(operators=[], experts=[])
    assert policy.may_put(RECORDS["O"], "VAL", "anybody", "anywhere") is not None


def test_the_policy_remembers_whom_it_judged_last() -> None:
    policy = AccessPolicy(experts=["ann"])
    policy.may_put(RECORDS["E"], "HIHI", "ann", "desk")
    assert policy.asked_by == "ann@desk"
    policy.may_put(RECORDS["E"], "VAL", "bob", "hall")
    assert policy.asked_by == "bob@hall"
