"""The whole server in one process: simulated supply over TCP, records, Channel Access, a C client in a thread."""

from __future__ import annotations

import asyncio
import gc
import resource
import socket
import struct
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from devices.caen.driver import CaenDriver
from ioc.access import policy
from ioc.app import MOST_FILES, App, allow_many_files
from ioc.records import PutContext, PutRefused, fields_of
from ioc.scan.scanner import DeviceScanner
from ioc.server.dbr import DBR_PUT_ACKS
from ioc.site.config import SiteError, parse_site
from tests.fair_time import until
from tests.ioc.app_rig import DEVICE, as_client, failed, record, running, supply
from tests.ioc.fakes import alarm
from tests.libca import Context
from tests.raw_ca import ERROR, WRITE, WRITE_NOTIFY, Message, RawCircuit

ECA_NOWTACCESS = 376


def _all_read(scanners: list[DeviceScanner]) -> bool:
    return all(scanner.all_read for scanner in scanners)


async def test_GIVEN_a_site_WHEN_a_client_puts_a_voltage_THEN_it_completes_with_the_readback() -> None:
    def client(context: Context) -> tuple[float, float]:
        setting, readback = context.connect(["LAB:HV1:CH00:VSET", "LAB:HV1:CH00:VSET:RBV"])
        setting.put_callback(500.0)
        return setting.value(), readback.value()

    async with running() as app:
        assert await as_client(app, client) == (500.0, 500.0)
        assert [line for line in supply(app).received if b"CMD:SET" in line] == [b"$CMD:SET,CH:0,PAR:VSET,VAL:500.0"]
        put = str(app.records["LAB:IOC:PUTS"].val)
        assert "(127.0.0.1) LAB:HV1:CH00:VSET 0 -> 500" in put


@pytest.mark.parametrize(
    ("suffix", "value", "reason"),
    [("CH00:VSET", 9000.0, "9000"), ("CH00:VSET:RBV", 1.0, "read"), ("CH00:ON", "MAYBE", "MAYBE")],
)
async def test_GIVEN_a_put_that_can_not_be_WHEN_made_THEN_refused_and_PUT_MSG_says_why(
    suffix: str, value: object, reason: str
) -> None:
    def client(context: Context) -> None:
        channel = context.channel(f"LAB:HV1:{suffix}")
        assert failed(channel, value)

    async with running() as app:
        before = record(app, suffix).val, alarm(record(app, suffix))
        await as_client(app, client)
        assert (record(app, suffix).val, alarm(record(app, suffix))) == before
        assert record(app, "PUT:REFUSED").val == 1
        assert reason in str(record(app, "PUT:MSG").val)
        assert not [line for line in supply(app).received if b"CMD:SET" in line]


async def test_GIVEN_scanning_at_1_s_WHEN_the_device_falls_silent_THEN_INVALID_in_3_s_and_back_in_5_s() -> None:
    async with running() as app:
        value = record(app, "CH00:VMON").val
        supply(app).faults.silent = True
        took = await until(lambda: record(app, "CH00:VMON").sevr == 3, 3.0, "VMON INVALID")
        assert took <= 3.0
        assert record(app, "COMM").val == 0
        assert alarm(record(app, "CH00:VMON")) == ("TIMEOUT", 3)
        assert record(app, "CH00:VMON").val == value
        heartbeat = app.records["LAB:IOC:HEARTBEAT"]
        for _ in range(3):
            last = heartbeat.val
            await until(lambda last=last: heartbeat.val != last, 1.2, "the next heartbeat")  # type: ignore[misc]
        supply(app).faults.silent = False
        await until(lambda: record(app, "CH00:VMON").sevr == 0, 5.0, "VMON back")
        assert record(app, "COMM:RECONN").val >= 1  # type: ignore[operator]
        assert not [line for line in supply(app).received if b"CMD:SET" in line]


async def test_GIVEN_a_device_that_refuses_connections_WHEN_it_returns_THEN_back_in_5_s() -> None:
    async with running() as app:
        await supply(app).refuse_connections()
        await until(lambda: record(app, "CH00:VMON").sevr == 3, 3.0, "VMON INVALID")
        assert alarm(record(app, "CH00:VMON"))[0] == "COMM"
        await supply(app).accept_connections()
        await until(lambda: record(app, "CH00:VMON").sevr == 0, 5.0, "VMON back")
        assert not [line for line in supply(app).received if b"CMD:SET" in line]


async def test_GIVEN_two_devices_WHEN_a_driver_goes_mad_THEN_the_other_is_not_disturbed() -> None:
    other = DEVICE | {"name": "HV2"}
    async with running(DEVICE, other) as app:
        stamp = record(app, "CH00:VMON", "HV2").seconds

        async def read(names: object) -> Any:
            raise RuntimeError("a mistake")

        app.scanners["HV1"].driver.read = read  # type: ignore[method-assign]
        await until(lambda: record(app, "CH00:VMON").sevr == 3, 3.0)
        assert "internal error: RuntimeError: a mistake" in str(record(app, "COMM:MSG").val)
        await until(lambda: record(app, "CH00:VMON", "HV2").seconds > stamp + 1, 3.0)
        assert alarm(record(app, "CH00:VMON", "HV2")) == ("NO_ALARM", 0)


async def test_GIVEN_a_put_stuck_in_a_silent_device_WHEN_stopped_THEN_all_ends_within_2_s() -> None:
    slow = DEVICE | {"timeout": 30}
    async with running(slow) as app:
        supply(app).faults.silent = True
        setting = record(app, "CH00:VSET")
        put = asyncio.create_task(setting.put_device(fields_of("ao")["VAL"], 10.0, PutContext()))
        await until(lambda: any(b"CMD:SET" in line for line in supply(app).received), 2.0)
        assert not put.done()
    with pytest.raises(PutRefused, match=r"stopped before .* outcome is unknown"):
        await put


async def test_GIVEN_DISABLE_WHEN_put_by_a_client_THEN_the_connection_is_closed_until_it_is_cleared() -> None:
    async with running() as app:
        await as_client(app, lambda context: context.channel("LAB:HV1:DISABLE").put_callback(1))
        assert alarm(record(app, "CH00:VMON")) == ("DISABLE", 3)
        count = len(supply(app).received)
        await until(lambda: float(record(app, "COMM:AGE").val) > 1.5, 4.0)  # type: ignore[arg-type]
        assert len(supply(app).received) == count
        await as_client(app, lambda context: context.channel("LAB:HV1:DISABLE").put_callback(0))
        await until(lambda: record(app, "CH00:VMON").sevr == 0, 3.0)


async def test_GIVEN_a_disarmed_server_with_a_disabled_device_WHEN_started_again_THEN_both_are_still_so(
    tmp_path: Path,
) -> None:
    site = parse_site({"site": {"prefix": "LAB"}, "server": {"interfaces": ["127.0.0.1"]}, "device": [
        DEVICE, DEVICE | {"name": "HV2"}]})  # fmt: skip
    names = "LAB:IOC:ARMED", "LAB:HV2:DISABLE"
    for values in ((1, 0), (0, 1), (1, 0)):
        app = App(site, port=0, folder=tmp_path)
        try:
            await app.start()
            assert tuple(app.records[name].val for name in names) == values
            assert [app.records[name].udf for name in names] == [False, False]
            scanners = [app.scanners[name] for name in ("HV1", "HV2")[: 2 - values[1]]]
            await until(partial(_all_read, scanners), 5.0)
            vset = app.records["LAB:HV1:CH00:VSET"]
            if values == (0, 1):
                assert not supply(app, "HV2").received
                with pytest.raises(PutRefused, match="not armed"):
                    await vset.put_device(fields_of("ao")["VAL"], 5.0, PutContext())
            for name, value in zip(names, values, strict=True):
                await app.records[name].put_device(fields_of("bo")["VAL"], 1 - value, PutContext("ann", "desk"))
        finally:
            await app.stop()
            gc.unfreeze()
    assert '"by": "ann@desk"' in (tmp_path / "LAB-state.json").read_text()


async def test_GIVEN_an_access_section_WHEN_a_stranger_puts_THEN_refused() -> None:
    def client(context: Context) -> None:
        assert failed(context.channel("LAB:HV1:CH00:VSET"), 1.0)

    async with running(access={"operators": ["somebody-else"], "experts": []}) as app:
        await as_client(app, client)
        assert record(app, "CH00:VSET").val == 0
        assert not [line for line in supply(app).received if b"CMD:SET" in line]


async def test_GIVEN_no_access_section_WHEN_another_computer_puts_THEN_refused_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The far end of a connection over the loopback interface is taken for another computer."""

    def client(app: App) -> tuple[list[int], list[Message]]:
        with RawCircuit(app.tcp_port) as circuit:
            names = [f"LAB:HV1:CH00:{suffix}" for suffix in ("VSET", "VMON", "VSET.DISP", "ON")]
            for name in names:
                circuit.channel(name)
            puts = [
                Message(command, 6, 1, circuit.sids[name], ioid, struct.pack(">d", 1.0))
                for ioid, (name, command) in enumerate(product(names, (WRITE, WRITE_NOTIFY)))
            ]
            acknowledge = Message(WRITE_NOTIFY, DBR_PUT_ACKS, 1, circuit.sids[names[1]], 99, b"\0\2")
            return list(circuit.rights.values()), circuit.ask(*puts, acknowledge)

    caplog.set_level("INFO", "labioc")
    async with running() as app:
        assert "from this computer only" in caplog.text
        monkeypatch.setattr(policy, "is_own_address", lambda address: False)
        rights, answers = await asyncio.to_thread(client, app)
        assert rights == [1, 1, 1, 1]
        assert [one.parameter1 for one in answers if one.command == WRITE_NOTIFY] == [ECA_NOWTACCESS] * 5
        texts = [one.payload for one in answers if one.command == ERROR]
        assert len(texts) == 4
        assert b'hosts = ["127.0.0.0/24"] or write = "everybody"' in texts[0]
        assert "hosts = " in str(record(app, "PUT:MSG").val)
        assert (record(app, "CH00:VSET").val, record(app, "CH00:VSET").get("DISP")) == (0, 0)
        assert not [line for line in supply(app).received if b"CMD:SET" in line]


async def test_GIVEN_an_access_security_file_WHEN_it_changes_THEN_a_connected_client_is_notified(
    tmp_path: Path,
) -> None:
    acf = tmp_path / "site.acf"
    armed = 'INPA("LAB:IOC:ARMED") RULE(1, WRITE) {CALC("A=1")}'
    acf.write_text(f"ASG(DEFAULT) {{ RULE(1, READ) {armed} }}")

    def client(context: Context, loop: asyncio.AbstractEventLoop) -> None:
        setting, switch, reading = context.connect(["LAB:HV1:CH00:VSET", "LAB:IOC:ARMED", "LAB:HV1:CH00:VMON"])
        assert (setting.may_write, reading.may_write) == (True, True)  # who may write acknowledges
        assert not failed(setting, 20.0)
        switch.put_callback(0)
        wait_for(lambda: not setting.may_write)
        assert failed(setting, 30.0)
        acf.write_text("ASG(DEFAULT) { RULE(1, READ) } ASG(OPERATOR) { RULE(0, WRITE) }")
        assert "read anew" in asyncio.run_coroutine_threadsafe(app.policy.reload(), loop).result(5)
        wait_for(lambda: setting.may_write)
        assert not switch.may_write
        assert not reading.may_write

    async with running(access={"acf": str(acf)}) as app:
        loop = asyncio.get_running_loop()
        await as_client(app, lambda context: client(context, loop))
        assert record(app, "CH00:VSET").val == 20.0


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait for a condition in the thread of a client."""
    end = time.monotonic() + 5.0
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_GIVEN_a_bad_access_security_file_WHEN_the_site_is_made_THEN_it_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "site.acf").write_text("ASG(DEFAULT) {RULE(0,WRITE) {UAG(ops)}}")
    site = {"site": {"prefix": "LAB"}, "device": [DEVICE], "access": {"acf": str(tmp_path / "site.acf")}}
    with pytest.raises(SiteError, match=r"site\.acf:1: found UAG ops, allowed: those defined before"):
        App(parse_site(site), port=0)


async def test_GIVEN_a_taken_port_WHEN_started_THEN_another_one_serves_the_circuits() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        site = {"site": {"prefix": "LAB"}, "server": {"interfaces": ["127.0.0.1"], "port": port}, "device": [DEVICE]}
        app = App(parse_site(site))
        try:
            await app.start()
            assert app.search_port == port
            assert app.tcp_port != port
        finally:
            await app.stop()
            gc.unfreeze()


async def test_GIVEN_an_address_that_is_not_ours_WHEN_started_THEN_the_error_says_what_failed() -> None:
    site = {"site": {"prefix": "LAB"}, "server": {"interfaces": ["192.0.2.1"]}, "device": [DEVICE]}
    app = App(parse_site(site), port=0)
    try:
        with pytest.raises(
            OSError, match=r"can't serve Channel Access: 192.0.2.1 .*is not an address of this computer"
        ):
            await app.start()
    finally:
        await app.stop()


async def test_GIVEN_a_running_server_THEN_every_record_is_read_and_none_undefined() -> None:
    async with running() as app:
        assert [name for name, one in app.records.items() if alarm(one)[0] == "UDF"] == []
        assert {name for name, one in app.records.items() if one.udf} <= {
            f"LAB:HV1:{suffix}" for suffix in ("BD:TERM", "BD:ILKM", "BD:ILKM:RBV")
        }, "all but what this firmware does not know"


async def test_GIVEN_a_client_with_two_channels_WHEN_it_leaves_THEN_the_server_has_counted_both() -> None:
    def client(context: Context) -> tuple[int, int, str]:
        clients, channels, engineer = context.connect([f"LAB:IOC:{name}" for name in names])
        app.statistics.post()
        return clients.value(), channels.value(), engineer.value()

    names = ("CA_CLNT_CNT", "CA_CONN_CNT", "ENGINEER")
    async with running(site={"prefix": "LAB", "engineer": "Anna"}) as app:
        assert await as_client(app, client) == (1, 3, "Anna")
        await until(lambda: app.records["LAB:IOC:CA_CLNT_CNT"].val == 0, 10.0)
        assert app.records["LAB:IOC:CA_CONN_CNT"].val == 0


def test_GIVEN_the_usual_limit_of_open_files_WHEN_a_server_is_run_THEN_it_takes_what_the_system_permits() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    permitted = MOST_FILES if before[1] == resource.RLIM_INFINITY else min(before[1], MOST_FILES)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, permitted), before[1]))
        allow_many_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (permitted, before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_GIVEN_a_device_that_cannot_be_made_WHEN_started_THEN_it_is_invalid_with_its_reason_and_others_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = CaenDriver.__init__

    def broken(self: CaenDriver, settings: Any, *more: Any) -> None:
        if settings.name == "BAD":
            raise OSError("the library of the adapter is missing")
        made(self, settings, *more)

    site = {
        "site": {"prefix": "LAB"},
        "server": {"interfaces": ["127.0.0.1"]},
        "device": [DEVICE, DEVICE | {"name": "BAD", "simulated": False}],
    }
    checked = parse_site(site)
    monkeypatch.setattr(CaenDriver, "__init__", broken)
    app = App(checked, port=0)
    try:
        await app.start()
        await until(lambda: app.scanners["HV1"].ready and "library" in str(record(app, "COMM:MSG", "BAD").val), 5.0)
        assert alarm(record(app, "CH00:VMON", "BAD"))[1] == 3
        assert "the library of the adapter is missing" in record(app, "COMM:MSG", "BAD").val
        assert alarm(record(app, "CH00:VMON"))[1] == 0
    finally:
        await app.stop()
        gc.unfreeze()
