"""A group of a simulated supply over Channel Access."""

from __future__ import annotations

from tests.ioc.test_app import DEVICE, as_client, failed, running, supply, until
from tests.libca import ECA_NORMAL, Context

NAME = "LAB:GRP:CALO"
HV = {
    **DEVICE,
    "settle": 1,
    "channel": {"0": {"alias": "CALO:A"}, "1": {"alias": "CALO:B"}},
    "limits": {"RAMPUP": [1, 500]},
}
GROUP = {"name": "CALO", "members": ["CALO:*"], "standby": 10, "on": 40, "order": ["CALO:A", "CALO:B"]}


async def test_GIVEN_a_group_WHEN_a_client_puts_ON_and_OFF_THEN_each_put_completes_when_all_have_arrived() -> None:
    def go(context: Context, state: str) -> int:
        code: int = context.channel(f"{NAME}:GO").put_callback(state, deadline=40.0)
        return code

    async with running(HV, group=[GROUP]) as app:
        channels = supply(app).model.channels
        plan = str(app.records[f"{NAME}:PLAN:MSG"].val).splitlines()
        assert plan[2] == "ON: 1. CALO:A 0 -> 40 V; 2. CALO:B 0 -> 40 V"
        assert await as_client(app, lambda context: failed(context.channel(f"{NAME}:GO"), 3))
        assert await as_client(app, lambda context: go(context, "ON")) == ECA_NORMAL
        assert [round(one.volts) for one in channels] == [40, 40, 0, 0]
        await until(lambda: app.records[f"{NAME}:STATE"].val == 3, 5.0, "the group is on")
        assert await as_client(app, lambda context: go(context, "OFF")) == ECA_NORMAL
        await until(lambda: app.records[f"{NAME}:STATE"].val == 0, 5.0, "the group is off")
        assert not any(app.records[f"LAB:HV1:CH0{n}:ON:RBV"].val for n in range(4))
