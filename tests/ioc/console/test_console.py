"""The console: every command that goes by PVs."""

from __future__ import annotations

import asyncio
import re

import pytest

from ioc.console.pvs import LONGEST_BACKLOG, Watch, find
from ioc.console.session import Session
from tests.fair_time import until
from tests.ioc.app_rig import DEVICE, record, running, supply
from tests.ioc.console.console_rig import USER, ScriptedTerminal, carry_out

# ---- PVs


async def test_GIVEN_a_served_site_WHEN_commands_about_PVs_are_taken_THEN_they_show_and_set() -> None:
    async with running(DEVICE | {"channel": {"0": {"alias": "CALO:PMT07"}}}) as app:
        terminal = await carry_out(
            app,
            "dbl LAB:HV1:CH0[01]:VSET",
            "get LAB:HV1:CH00:VSET",
            "put LAB:HV1:CH00:VSET 40",
            "get LAB:HV1:CH00:VSET.DRVH",
            "put LAB:HV1:CH00:ON ON",
            "put 'LAB:HV1:CH00:VMON.DESC$' anode of the calorimeter",
            "",
            "  # a comment",
        )
        assert terminal.complaints == []
        assert terminal.shown[:2] == ["LAB:HV1:CH00:VSET", "LAB:HV1:CH01:VSET"]
        assert re.fullmatch(r"LAB:HV1:CH00:VSET = 0\.0 V  \(20\d\d-.*\)", terminal.shown[2])
        assert terminal.shown[3].startswith("LAB:HV1:CH00:VSET = 40.0 V")
        assert terminal.shown[4:5] == ["LAB:HV1:CH00:VSET.DRVH = 4000.0"]
        assert terminal.shown[5].startswith("LAB:HV1:CH00:ON = ON")
        assert terminal.shown[6] == "LAB:HV1:CH00:VMON.DESC = anode of the calorimeter"
        assert supply(app).model.channels[0].vset == 40.0
        assert record(app, "PUT:REFUSED").val == 0
        fields = (await carry_out(app, "dbpr LAB:HV1:CH00:VMON")).shown
        assert fields[0].startswith("record(ai, LAB:HV1:CH00:VMON)")
        assert {"  INP  @HV1 CH00.VMON", "  EGU  V", "  info(access) R"} <= set(fields)


BAD_INPUT = [
    ("foo", "foo is not a command; help lists them"),
    ("help foo", "foo is not a command; help lists them"),
    ("get", "expected get PV[.FIELD]..."),
    ("get NIX*", "no PV matches NIX*"),
    ('get "LAB', 'No closing quotation in get "LAB'),
    ("get LAB:NIX", "there is no PV LAB:NIX; dbl lists them"),
    ("get LAB:IOC:ARMED.NIX", "there is no PV LAB:IOC:ARMED.NIX; dbl lists them"),
    ('get \'LAB:IOC:LAG{"dbnd":{"abs":1}}\'', 'there is no PV LAB:IOC:LAG{"dbnd":{"abs":1}}; dbl lists them'),
    ("dbl NIX*", "no PV matches NIX*"),
    ("dbpr LAB:NIX", "there is no PV LAB:NIX; dbl lists them"),
    ("put LAB:IOC:ARMED", "expected put PV[.FIELD] VALUE"),
    ("put LAB:IOC:ARMED perhaps", "LAB:IOC:ARMED: 'perhaps' is not one of its states"),
    ("put LAB:IOC:LAG 3", "LAB:IOC:LAG is a read-only PV"),
    ("put LAB:IOC:LAG.RTYP ao", "LAB:IOC:LAG.RTYP is fixed by the database"),
    ("watch LAB:IOC:LAG soon", "there is no PV soon"),
    ("watch LAB:IOC:LAG", "watch in a script needs a number of seconds"),
    ("watch LAB:IOC:LAG 1e9", "1e9 is not a number of seconds, 0 to 86400"),
    ("watch LAB:IOC:LAG nan", "nan is not a number of seconds, 0 to 86400"),
    ("devices NIX", "there is no device NIX; there are HV1"),
    ("raw", "expected raw DEVICE ITEM... [= VALUE]"),
    ("raw NIX VSET", "there is no device NIX; there are HV1"),
    ("raw HV1", "expected raw HV1 PARAMETER [CHANNEL] [= VALUE]"),
    ("raw HV1 VSET 0 = much", "VSET: 'much' is not a number"),
    ("raw HV1 $BD:00,CMD:SET,CH:0,PAR:VSET,VAL:9999", "VSET 9999 V is above 4000 V"),
    ("set HV1.0 foo 1", "HV1.0 has no setting foo; it has "),
    ("set HV1.0 vmon 1", "HV1.0 has no setting vmon; it has "),
    ("set HV1.9 vset 1", "there is no device or channel HV1.9; expected HV1.0 for example"),
    ("set HV1.0 vset 9999", "VSET 9999 V is above 4000 V"),
    ("on HV1", "HV1 cannot be switched; expected a channel, HV1.0 for example"),
    ("off NIX.*", "NIX has no channels"),
    ("on HV1.*7", "HV1 has no channels *7"),
    ("on CALO", "there is no device or channel CALO; expected HV1.0 for example"),
    ("set CALO vset 10", "there is no device or channel CALO; expected HV1.0 for example"),
    ('watch LAB:IOC:LAG ""', "there is no PV ; dbl lists them"),
    ("period HV1 3", "3 is no period; there are 0.1, 0.2, 0.5, 1, 2, 5, 10 s"),
    ("stop NIX", "there is no device NIX; there are HV1"),
    ("raw HV1 FOO", "FOO: device refused: PAR"),
    ("quit now", "expected quit"),
]


async def test_GIVEN_bad_input_WHEN_a_command_is_taken_THEN_a_sentence_says_what_is_wrong() -> None:
    async with running(DEVICE | {"channel": {"0": {"alias": "CALO:PMT07"}}}) as app:
        for line, complaint in BAD_INPUT:
            terminal = await carry_out(app, line)
            assert [text[: len(complaint)] for text in terminal.complaints] == [complaint], line
            assert "\n" not in terminal.complaints[0]
            assert terminal.shown == []


async def test_GIVEN_a_command_WHEN_it_goes_wrong_inside_THEN_the_session_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running() as app:
        monkeypatch.setattr("ioc.console.session.value_line", lambda _: 1 / 0)
        terminal = await carry_out(app, "get LAB:IOC:LAG", "dbl LAB:IOC:LAG")
        assert terminal.complaints == ["internal error: ZeroDivisionError: division by zero"]
        assert terminal.shown == ["LAB:IOC:LAG"]


async def test_GIVEN_a_console_that_has_gone_WHEN_a_command_answers_THEN_the_session_ends() -> None:
    async with running() as app:
        terminal = ScriptedTerminal()
        terminal.gone = True
        with pytest.raises(BrokenPipeError):
            await Session(app, terminal, USER).take("watch LAB:IOC:LAG 5")
        assert app.records["LAB:IOC:LAG"].monitors is None


async def test_GIVEN_help_WHEN_asked_THEN_every_command_is_there() -> None:
    async with running() as app:
        terminal = await carry_out(app, "help", "help raw")
        assert [line.split()[0] for line in terminal.shown] == [
            *("help", "dbl", "dbpr", "get", "put", "watch", "devices", "set", "on", "off", "kill"),
            *("start", "stop", "period", "raw", "asreload", "quit"),
            "raw",
        ]


# ---- watching


async def test_GIVEN_a_PV_that_moves_WHEN_watched_for_a_while_THEN_each_change_is_shown() -> None:
    async with running() as app:
        session = asyncio.create_task(carry_out(app, "watch LAB:HV1:CH00:VSET 0.6", "dbl LAB:IOC:LAG"))
        target = find(app.records, "LAB:HV1:CH00:VSET")
        await until(lambda: target.record.monitors is not None, 2.0)
        await target.record.put_device(target.spec, 12.0, USER)
        lines = (await session).shown
        assert [re.sub(r"  \(.*", "", line) for line in lines] == [
            "LAB:HV1:CH00:VSET = 0.0 V",
            "LAB:HV1:CH00:VSET = 12.0 V",
            "LAB:IOC:LAG",
        ]
        assert target.record.monitors is None


async def test_GIVEN_a_person_WHEN_several_PVs_are_watched_THEN_it_goes_on_until_it_is_given_up() -> None:
    async with running() as app:
        terminal = ScriptedTerminal(interactive=True)
        watch = asyncio.create_task(Session(app, terminal, USER).take("watch HV1:CH0[01]:VSET LAB:IOC:ARMED"))
        await until(lambda: len(terminal.shown) == 3, 2.0)
        record(app, "CH01:VSET").post(3.0, 1.7e9, 2, 4)
        await until(lambda: len(terminal.shown) == 4, 2.0)
        assert terminal.shown[3].startswith("LAB:HV1:CH01:VSET = 3.0 V")
        assert terminal.severities == [0, 0, 0, 2]
        watch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watch
        assert record(app, "CH01:VSET").monitors is None


# ---- short names


async def test_GIVEN_short_commands_WHEN_taken_THEN_each_is_a_put_like_any_other() -> None:
    async with running(DEVICE | {"channel": {"0": {"alias": "CALO:PMT07"}}}) as app:
        terminal = await carry_out(
            app, "set hv1.0 vset 300", "set CALO:PMT07 rampup 500", "on HV1.0", "set HV1.1 on ON"
        )
        assert terminal.complaints == []
        assert [line.partition("  (")[0] for line in terminal.shown] == [
            "LAB:HV1:CH00:VSET = 300.0 V",
            "LAB:HV1:CH00:RAMPUP = 500 V/s",
            "LAB:HV1:CH00:ON = ON",
            "LAB:HV1:CH01:ON = ON",
        ]
        assert [channel.on for channel in supply(app).model.channels[:2]] == [True, True]
        assert "karl@labpc (127.0.0.1) LAB:HV1:CH01:ON OFF -> ON" in str(app.records["LAB:IOC:PUTS"].val)
        await carry_out(app, "off HV1.*")
        assert not any(channel.on for channel in supply(app).model.channels)
        await carry_out(app, "on HV1.[1-2]")
        assert [channel.on for channel in supply(app).model.channels] == [False, True, True, False]


async def test_GIVEN_a_channel_that_is_on_WHEN_killed_THEN_it_is_off_without_ramp_also_if_the_mode_is_refused() -> None:
    async with running() as app:
        await carry_out(app, "set HV1.0 pdwn RAMP", "set HV1.0 vset 100", "on HV1.0")
        terminal = await carry_out(app, "kill HV1.0")
        assert [line.partition("  (")[0] for line in terminal.shown] == [
            "LAB:HV1:CH00:PDWN = KILL",
            "LAB:HV1:CH00:ON = OFF",
        ]
        await carry_out(app, "on HV1.0", "put HV1:CH00:PDWN.DISP 1")
        terminal = await carry_out(app, "kill HV1.0")
        assert len(terminal.complaints) == 1
        assert terminal.complaints[0].startswith("LAB:HV1:CH00:PDWN")
        assert not supply(app).model.channels[0].on


async def test_GIVEN_the_scan_of_a_device_WHEN_stopped_started_and_changed_THEN_it_follows() -> None:
    async with running() as app:
        await carry_out(app, "stop hv1")
        assert app.scanners["HV1"].status.disabled
        await carry_out(app, "start HV1")
        assert not app.scanners["HV1"].status.disabled
        assert (await carry_out(app, "period HV1", "period HV1 .5", "period HV1 1.0")).shown == [
            "HV1 is read every 1 s",
            "HV1 is read every .5 s",
            "HV1 is read every 1 s",
        ]
        await carry_out(app, "period HV1 2")
        assert record(app, "CH00:VMON").scan == record(app, "CH03:STATE").scan == "2 second"
        assert record(app, "CH00:VSET:RBV").scan != "2 second"


COMPLETIONS = [
    ("", ["help", "dbl", "dbpr", "get", "put", "watch", "devices", "set", "on", "off", "kill", "start", "stop",
          "period", "raw", "asreload", "quit"]),
    ("he", ["help"]),
    ("help wa", ["watch"]),
    ("get LAB:IOC:HEARTB", ["LAB:IOC:HEARTBEAT"]),
    ("get IOC:HEARTB", ["IOC:HEARTBEAT"]),
    ("get LAB:HV1:C", ["LAB:HV1:CH00:", "LAB:HV1:CH01:", "LAB:HV1:CH02:", "LAB:HV1:CH03:", "LAB:HV1:COMM",
                       "LAB:HV1:COMM:"]),
    ("watch LAB:IOC:LAG LAB:IOC:HEARTB", ["LAB:IOC:HEARTBEAT"]),
    ("get LAB:HV1:CH00:VMON.HI", ["LAB:HV1:CH00:VMON.HIHI", "LAB:HV1:CH00:VMON.HIGH"]),
    ("put LAB:HV1:CH00:ON ", ["OFF", "ON"]),
    ("put LAB:HV1:CH00:ON o", ["OFF", "ON"]),
    ("put HV1:CH00:VMON.HHSV M", ["MINOR", "MAJOR"]),
    ("devices H", ["HV1"]),
    ("raw ", ["HV1"]),
    ("set HV1.", ["HV1.0", "HV1.1", "HV1.2", "HV1.3"]),
    ("set HV1.0 vs", ["vset"]),
    ("set HV1.0 pdwn ", ["RAMP", "KILL"]),
    ("off HV1.0 HV1.2", ["HV1.2"]),
    ("set NIX vs", []),
    ("nonsense ", []),
]  # fmt: skip


async def test_GIVEN_the_beginning_of_a_line_WHEN_completed_THEN_what_may_follow_is_offered() -> None:
    async with running() as app:
        session = Session(app, ScriptedTerminal(), USER)
        for line, expected in COMPLETIONS:
            assert sorted(session.candidates(line)) == sorted(expected), line


async def test_GIVEN_access_rights_WHEN_reloaded_THEN_it_takes_an_expert() -> None:
    async with running(access={"operators": [USER.user], "experts": []}) as app:
        terminal = await carry_out(app, "asreload")
        assert "is not an expert in the [access] section" in terminal.complaints[0]
    async with running() as app:
        assert (await carry_out(app, "asreload")).shown[0].startswith("there is no access security file")


async def test_GIVEN_a_terminal_that_stands_still_WHEN_a_PV_is_watched_THEN_the_backlog_is_bounded() -> None:
    async with running() as app:
        with Watch([find(app.records, "LAB:IOC:LAG")]) as watch:
            for number in range(LONGEST_BACKLOG + 4):
                app.records["LAB:IOC:LAG"].post(number + 1.0, 1.7e9)
            lines = [(await watch.line()).text for _ in range(LONGEST_BACKLOG + 1)]
        assert lines[-1] == "(5 changes not shown)"


# ---- devices


async def test_GIVEN_devices_WHEN_listed_THEN_state_age_errors_and_limits_are_shown() -> None:
    async with running(DEVICE | {"limits": {"VSET": [0, 1500]}}) as app:
        lines = (await carry_out(app, "devices", "devices HV1")).shown
        assert re.fullmatch(r"HV1 +caen-dt55xx +connected +\d\.\d +0 +0", lines[1])
        assert "  CH00:VSET       0 to 1500 V               device VMIN; site limit" in lines
        await carry_out(app, "put LAB:HV1:CH00:VSET 2000", "put LAB:HV1:DISABLE 1")
        lines = (await carry_out(app, "devices HV1")).shown
        assert "disabled" in lines[1]
        assert lines[3].startswith("puts refused: 1; the last one: VSET 2000 V is above 1500 V (site limit)")
        await carry_out(app, "put LAB:HV1:DISABLE 0")
        await until(lambda: app.scanners["HV1"].ready, 5.0)
        await supply(app).stop()
        await until(lambda: not app.scanners["HV1"].ready, 5.0)
        assert re.match(r"HV1 +caen-dt55xx +LOST .*connection", (await carry_out(app, "devices")).shown[1])
