"""Applying a plan: what is not known to be in force ends its channel, and an output that never rests does too."""

from __future__ import annotations

from typing import Any

import pytest

from ioc.client import PutError, Reading
from ioc.client.reading import Meta, Scalar
from ioc.snapshots.apply import DONE, IN_FORCE, LEFT_OUT, REFUSED, UNKNOWN, Restore
from ioc.snapshots.plan import make
from ioc.snapshots.snapshot import Saved
from tests.ioc.snapshots.test_plan import present

META = Meta("V", 1)


class FakeChannel:
    """A PV; ``fails`` is what a put raises."""

    connected = True

    def __init__(self, name: str, client: FakeClient) -> None:
        self.name = name
        self._client = client

    async def read(self, timeout: float) -> Reading:
        self._client.clock += 5.0
        return Reading(self._client.values[self.name.removesuffix(":RBV")], self._client.clock, 0, 0, META)

    async def put(self, value: Scalar, timeout: float) -> None:
        if (error := self._client.fails.get(self.name)) is not None:
            raise error
        self._client.values[self.name] = value
        self._client.puts.append(self.name)


class FakeClient:
    def __init__(self, values: dict[str, Scalar], fails: dict[str, PutError]) -> None:
        self.values, self.fails = values, fails
        self.puts: list[str] = []
        self.clock = 1.0

    async def connect(self, names: list[str], timeout: float) -> list[FakeChannel]:
        return [FakeChannel(name, self) for name in names]


async def restored(
    now: dict[str, Scalar], then: dict[str, Scalar], fails: dict[str, PutError], go_on: bool, **others: Scalar
) -> tuple[list[tuple[str, str]], list[str]]:
    """Return what became of each step, with its reason, and what was written."""

    async def why(channel: Any, error: PutError, asked: float) -> str:
        return str(error)

    found = {name: Saved(name, value, None) for name, value in then.items()}
    plan, errors = make(found, {name: present(name, value) for name, value in now.items()}, outputs=False)
    assert errors == []
    client: Any = FakeClient(now | others, fails)
    outcomes = await Restore(client, why, 1.0, 0.0, go_on).apply(plan.steps, lambda one: None)
    return [(one.result, one.reason) for one in outcomes], client.puts


VSET, OTHER = "LAB:HV1:CH00:VSET", "LAB:HV1:CH01:VSET"


@pytest.mark.parametrize("go_on", [False, True])
@pytest.mark.parametrize("unknown", [False, True])
async def test_a_failure_ends_its_channel_or_all(go_on: bool, unknown: bool) -> None:
    now: dict[str, Scalar] = {"LAB:HV1:CH00:MAXV": 100.0, VSET: 5.0, OTHER: 5.0}
    then: dict[str, Scalar] = {"LAB:HV1:CH00:MAXV": 200.0, VSET: 150.0, OTHER: 50.0}
    failure = {"LAB:HV1:CH00:MAXV": PutError("no", unknown=unknown)}
    found, puts = await restored(now, then, failure, go_on)
    left = (LEFT_OUT, "after what was refused")
    assert found == [(UNKNOWN if unknown else REFUSED, "no"), left, (DONE, "") if go_on else left]
    assert puts == ([OTHER] if go_on else [])


async def test_a_failure_of_a_setting_of_the_device_ends_the_device() -> None:
    now: dict[str, Scalar] = {"LAB:IS1:MOD:RAMPV": 5.0, "LAB:IS1:CH00:VSET": 5.0}
    found, puts = await restored(
        now, dict.fromkeys(now, 9.0) | {"LAB:IS1:MOD:RAMPV": 9.0},
        {"LAB:IS1:MOD:RAMPV": PutError("no")}, go_on=True,
    )  # fmt: skip
    assert [result for result, _ in found] == [REFUSED, LEFT_OUT]
    assert puts == []


async def test_a_limit_is_not_tightened_while_the_output_moves() -> None:
    now: dict[str, Scalar] = {VSET: 90.0, "LAB:HV1:CH00:MAXV": 200.0}
    then: dict[str, Scalar] = {VSET: 20.0, "LAB:HV1:CH00:MAXV": 100.0}
    found, puts = await restored(now, then, {}, False, **{"LAB:HV1:CH00:MOVING": 1})
    assert found[1] == (REFUSED, "the output still moves after 0 s (LAB:HV1:CH00:MOVING is 1)")
    assert puts == [VSET]
    found, puts = await restored(now, then, {}, False, **{"LAB:HV1:CH00:MOVING": 0})
    assert found == [(DONE, "")] * 2


async def test_what_has_come_into_force_meanwhile_is_not_written() -> None:
    now: dict[str, Scalar] = {VSET: 5.0}
    found = {VSET: Saved(VSET, 50.0, "V")}
    plan, _ = make(found, {VSET: present(VSET, 5.0)}, outputs=False)
    client: Any = FakeClient({VSET: 50.0}, {})
    outcomes = await Restore(client, lambda *_: NotImplemented, 1.0, 1.0, False).apply(plan.steps, lambda one: None)
    assert [one.result for one in outcomes] == [IN_FORCE]
    assert (client.puts, now) == ([], {VSET: 5.0})
