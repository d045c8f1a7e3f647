"""A group and an interlock of a simulated supply over Channel Access."""

from __future__ import annotations

import time

import pytest

from tests.fair_time import FairClock, until
from tests.ioc.app_rig import DEVICE, as_client, failed, running, supply
from tests.ioc.fakes import definition
from tests.ioc.test_inputs import other_server
from tests.libca import ECA_NORMAL, Context

NAME = "LAB:GRP:CALO"
REACTION = 0.1
"""Seconds from the reading that is wrong to the first byte to the supply, as docs/how-to/interlocks.md promises."""

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
        plan, move = app.records[f"{NAME}:PLAN:MSG"], "ON: 1. CALO:A 0 -> 40 V; 2. CALO:B 0 -> 40 V"
        await until(lambda: move in str(plan.val).splitlines(), 3.0, "the plan is there")
        assert await as_client(app, lambda context: failed(context.channel(f"{NAME}:GO"), 3))
        assert await as_client(app, lambda context: go(context, "ON")) == ECA_NORMAL
        assert [round(one.volts) for one in channels] == [40, 40, 0, 0]
        await until(lambda: app.records[f"{NAME}:STATE"].val == 3, 5.0, "the group is on")
        assert await as_client(app, lambda context: go(context, "OFF")) == ECA_NORMAL
        await until(lambda: app.records[f"{NAME}:STATE"].val == 0, 5.0, "the group is off")
        assert not any(app.records[f"LAB:HV1:CH0{n}:ON:RBV"].val for n in range(4))


async def test_GIVEN_channels_that_are_on_WHEN_an_input_goes_wrong_THEN_off_within_a_scan_and_100_ms() -> None:
    interlock = {"name": "LOAD", "condition": "HV1:CH03:STAT:KILL == NO", "action": "off", "members": ["CALO:*"]}
    async with running(HV, interlock=[interlock]) as app:
        wire, killed, ok = supply(app).received, app.records["LAB:HV1:CH03:STAT:KILL"], app.records["LAB:ILK:LOAD:OK"]
        await until(lambda: ok.val == 1, 5.0, "the interlock is OK")

        def client(context: Context) -> list[int]:
            setting, switch, ack = context.connect(["CALO:A:VSET", "CALO:A:ON", "LAB:ILK:LOAD:ACK:CMD"])
            return [setting.put_callback(20.0), switch.put_callback(1), ack.put_callback(1)]

        assert await as_client(app, client) == [ECA_NORMAL] * 3
        before = len(wire)
        supply(app).model.channels[3].killed = True
        began = FairClock()
        await until(lambda: bool(killed.val), 3.0, "the reading is there")
        scanned = began()
        await until(lambda: any(b"PAR:OFF" in line for line in list(wire)[before:]), 2.0, "off was sent")
        reaction = began() - scanned
        assert scanned <= 1.0 + 0.3
        assert reaction <= REACTION
        await until(lambda: not app.records["LAB:HV1:CH00:ON:RBV"].val, 3.0, "the channel is off")
        assert (ok.val, ok.sevr) == (0, 2)
        assert await as_client(app, lambda context: failed(context.channel("CALO:A:ON"), 1))


async def test_GIVEN_the_heartbeat_of_another_server_WHEN_that_goes_THEN_channels_are_switched_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    interlock = {
        "name": "ALIVE",
        "condition": "OTHER:HEARTBEAT changes within 3 s",
        "action": "off",
        "members": ["CALO:*"],
    }
    async with other_server([definition("OTHER:HEARTBEAT", "longin")]) as (records, server):
        monkeypatch.setenv("EPICS_CA_ADDR_LIST", f"127.0.0.1:{server.udp_port}")
        monkeypatch.setenv("EPICS_CA_AUTO_ADDR_LIST", "NO")
        monkeypatch.setenv("EPICS_CA_REPEATER_PORT", "5999")
        async with running(HV, interlock=[interlock]) as app:
            ok, on, heart = (
                app.records[f"LAB:{name}"] for name in ("ILK:ALIVE:OK", "HV1:CH00:ON:RBV", "ILK:ALIVE:MSG")
            )

            def beat() -> bool:
                other = records["OTHER:HEARTBEAT"]
                other.post(int(str(other.val)) + 1, time.time())
                return bool(ok.val == 1 and not ok.udf)

            await until(beat, 15.0, "the other server is there")
            await as_client(app, lambda context: context.channel("CALO:A:ON").put_callback(1))
            await until(lambda: bool(beat() and on.val), 5.0, "the channel is on")
            await server.stop()
            await until(lambda: not on.val, 15.0, "the channel is off")
            assert (ok.val, ok.sevr) == (0, 2)
            assert str(heart.val).startswith("OTHER:HEARTBEAT ")
            assert await as_client(app, lambda context: failed(context.channel("CALO:A:ON"), 1))
