"""The rules of an access security file: levels, conditions on PVs, reading anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ioc.access import Access, Policy, acf_policy, make_policy
from ioc.access.acf import AcfError
from ioc.access.policy import LOCAL
from ioc.inputs import Inputs
from ioc.records import PutContext, RecordSet, alarm_status, fields_of
from tests.ioc.fakes import EPOCH, FakeClock, definition, settle

RULES = """
UAG(operators) {olga}
UAG(experts) {ed}
HAG(control) {Desk1, localhost}
ASG(DEFAULT) {
    RULE(1, READ)
    RULE(0, WRITE) {UAG(operators, experts) HAG(control)}
    RULE(1, WRITE) {UAG(experts)}
}
ASG(SECRET) {RULE(0, READ) {UAG(experts)}}
ASG(RUN) {
    INPA("LAB:BEAM") INPB("LAB:MODE.VAL")
    RULE(1, WRITE) {CALC("A < 1 && B = 2")}
}
"""


def client(user: str, host: str = "desk1", address: str = "192.0.2.7") -> PutContext:
    return PutContext(user, host, (address, 40000))


def write(path: Path, text: str) -> None:
    path.write_text(text)


def records() -> RecordSet:
    return RecordSet.build(
        [
            definition("R", "ai", access="R"),
            definition("R_OUTPUT", "ao", access="R"),
            definition("O", "ao", access="O"),
            definition("E", "ao", access="E"),
            definition("SECRET", "ao", access="O", ASG="SECRET"),
            definition("RUN", "ao", ASG="RUN"),
            definition("LAB:BEAM", "ao", VAL="0"),
            definition("LAB:MODE", "longout", VAL="0"),
        ]
    )


@asynccontextmanager
async def following(path: Path, found: RecordSet, text: str = RULES, client_ip: bool = False) -> AsyncIterator[Policy]:
    """Rules in force for these records."""
    clock = FakeClock()
    write(path, text)
    policy = make_policy(Access(acf=path, client_ip=client_ip), lambda: Inputs(found, clock, "LAB"))
    found.on_regroup = policy.changed
    await policy.start()
    try:
        yield policy
    finally:
        await policy.stop()


@pytest.mark.parametrize(
    ("record", "field", "user", "host", "allowed"),
    [
        ("O", "VAL", "olga", "desk1", True),
        ("O", "VAL", "olga", "DESK1", True),
        ("O", "VAL", "olga", "desk2", False),
        ("O", "VAL", "ed", "desk2", True),
        ("O", "VAL", "nobody", "desk1", False),
        ("O", "HIGH", "olga", "desk1", False),
        ("O", "HIGH", "ed", "desk2", True),
        ("O", "PROC", "olga", "desk1", False),
        ("E", "VAL", "olga", "desk1", False),
        ("E", "VAL", "ed", "desk1", True),
        ("R", "VAL", "ed", "desk1", False),
        ("R", "HIGH", "ed", "desk1", True),
        ("R", "PROC", "ed", "desk1", True),
        ("R_OUTPUT", "PROC", "ed", "desk1", False),
        ("SECRET", "VAL", "ed", "desk1", False),
    ],
)
async def test_levels(tmp_path: Path, record: str, field: str, user: str, host: str, allowed: bool) -> None:
    found = records()
    async with following(tmp_path / "site.acf", found) as policy:
        reason = policy.may_put(found[record], field, client(user, host))
        assert (reason is None) is allowed, reason


async def test_acknowledging_is_at_the_level_of_the_value_reading_at_that_of_the_field(tmp_path: Path) -> None:
    found = records()
    async with following(tmp_path / "site.acf", found) as policy:
        assert policy.may_acknowledge(found["R"], client("olga")) is None
        assert policy.may_acknowledge(found["R"], client("nobody")) is not None
        assert policy.may_read(found["E"], "VAL", client("nobody"))
        secret = found["SECRET"]
        assert not policy.may_read(secret, "VAL", client("olga"))
        assert policy.may_read(secret, "VAL", client("ed"))
        assert not policy.may_read(secret, "HIGH", client("ed"))


async def test_groups_of_caproto_are_in_DEFAULT_and_writing_past_the_PVs_takes_level_1(tmp_path: Path) -> None:
    async with following(tmp_path / "site.acf", records()) as policy:
        assert policy.may_put_group("", client("olga")) is None
        assert policy.may_put_group("HIGH", client("olga")) is not None
        assert policy.may_read_group("HIGH", client("nobody"))
        assert policy.may_write_raw(client("ed")) is None
        assert policy.may_write_raw(client("olga")) == (
            f"olga@desk1 may not write here by the rules of ASG DEFAULT in {tmp_path / 'site.acf'}"
        )


async def test_with_client_ip_the_name_of_the_host_counts_for_nothing(tmp_path: Path) -> None:
    found = records()
    async with following(tmp_path / "site.acf", found, client_ip=True) as policy:
        assert policy.may_put(found["O"], "VAL", client("olga", "desk1")) is not None
        assert policy.may_put(found["O"], "VAL", client("olga", "anywhere", "127.0.0.1")) is None


async def test_a_rule_follows_the_PVs_that_it_names(tmp_path: Path) -> None:
    found, changes = records(), []
    async with following(tmp_path / "site.acf", found) as policy:
        policy.on_change.append(lambda: changes.append(allowed()))

        def allowed() -> bool:
            return policy.may_put(found["RUN"], "VAL", client("nobody")) is None

        async def put(name: str, value: float) -> bool:
            found[name].put(fields_of(found[name].rtyp)["VAL"], value)
            await settle()
            return allowed()

        assert not allowed()
        assert await put("LAB:MODE", 2)
        assert changes[-1]
        before = len(changes)
        assert await put("LAB:BEAM", 0.75)
        assert len(changes) == before  # nothing has changed for any client
        assert not await put("LAB:BEAM", 5.0)
        assert await put("LAB:BEAM", 0.5)
        found["LAB:BEAM"].lose(alarm_status("COMM"))
        await settle()
        assert not allowed()
        found["LAB:BEAM"].post(0.2, EPOCH)
        await settle()
        assert allowed()


async def test_a_rule_does_not_hold_on_a_PV_that_has_fallen_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acf_policy, "_LOOK_SECONDS", 0.01)
    found, clock, path = RecordSet.build([definition("SCANNED", "ai", SCAN="1 second")]), FakeClock(), tmp_path / "f"
    write(path, 'ASG(DEFAULT) {INPA("SCANNED") RULE(1, WRITE) {CALC("A=0")} }')
    policy = make_policy(Access(acf=path), lambda: Inputs(found, clock))
    forbidden = asyncio.Event()
    await policy.start()
    found["SCANNED"].post(0.0, EPOCH)
    await settle()
    assert policy.may_put(found["SCANNED"], "HIGH", client("zoe")) is None
    policy.on_change.append(forbidden.set)
    await clock.advance(10.0)
    async with asyncio.timeout(5.0):
        await forbidden.wait()
    assert policy.may_put(found["SCANNED"], "HIGH", client("zoe")) is not None
    await policy.stop()


async def test_a_PV_that_is_not_connected_makes_a_rule_not_apply(tmp_path: Path) -> None:
    found = records()
    text = 'ASG(DEFAULT) {INPA("OTHER:PV") RULE(1, READ) RULE(1, WRITE) {CALC("A=0")} }'
    async with following(tmp_path / "site.acf", found, text) as policy:
        assert policy.may_put(found["O"], "VAL", client("ed")) is not None
        assert policy.may_read(found["O"], "VAL", client("ed"))


async def test_a_record_can_be_put_into_another_group(tmp_path: Path) -> None:
    found, changes = records(), []
    async with following(tmp_path / "site.acf", found) as policy:
        policy.on_change.append(lambda: changes.append(1))
        assert not policy.may_read(found["SECRET"], "VAL", client("olga"))
        found["SECRET"].put(fields_of("ao")["ASG"], "DEFAULT")
        assert changes
        assert policy.may_put(found["SECRET"], "VAL", client("olga")) is None


async def test_the_file_is_read_anew_and_a_bad_one_changes_nothing(tmp_path: Path) -> None:
    found, path = records(), tmp_path / "site.acf"
    async with following(path, found) as policy:

        def allowed(name: str) -> bool:
            return policy.may_put(found[name], "VAL", client("zoe")) is None

        write(path, "ASG(DEFAULT) {RULE(2, WRITE}")
        assert "stay as they were: " in await policy.reload()
        assert f"{path}:1: column 28: found '}}', expected ')' or ','" in await policy.reload()
        assert not allowed("O")
        write(path, 'ASG(DEFAULT) {INPA("LAB:BEAM") RULE(1, WRITE) {CALC("A>7")} }')
        assert await policy.reload() == f"access rules read anew from {path}"
        assert not allowed("O")
        found["LAB:BEAM"].put(fields_of("ao")["VAL"], 8.0)
        await asyncio.sleep(0)
        assert allowed("O")


async def test_the_file_is_read_anew_once_at_a_time_and_without_a_client_the_other_rules_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, path, under_way = records(), tmp_path / "site.acf", []

    async def start(inputs: Inputs) -> None:
        under_way.append(inputs)
        await asyncio.sleep(0)
        assert under_way == [inputs]
        under_way.remove(inputs)
        raise OSError(24, "Too many open files")

    async with following(path, found, "ASG(DEFAULT) {RULE(1, READ)}") as policy:
        write(path, "ASG(DEFAULT) {RULE(1, WRITE)}")
        monkeypatch.setattr(Inputs, "start", start)
        answers = await asyncio.gather(policy.reload(), policy.reload())
        assert all("PVs of other servers cannot be followed: [Errno 24]" in answer for answer in answers)
        assert policy.may_put(found["O"], "VAL", client("zoe")) is None


def test_a_bad_file_at_start_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "site.acf").write_text("UAG(")
    with pytest.raises(AcfError):
        make_policy(Access(acf=tmp_path / "site.acf"), lambda: Inputs(records(), FakeClock()))


async def test_without_a_file_there_is_nothing_to_read_anew() -> None:
    policy = make_policy(Access(write=LOCAL), lambda: Inputs(records(), FakeClock()))
    assert "there is no access security file" in await policy.reload()
