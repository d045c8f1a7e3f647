"""Expanding a site into records, and what is refused."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from ioc.database.dbfile import DatabaseError, parse_text
from ioc.records import RecordSet
from ioc.site import expansion as database
from ioc.site import templates
from ioc.site.config import load_site, parse_site
from ioc.site.expansion import Database, expand
from ioc.site.templates import Templates, family_records, template

ROOT = Path(__file__).resolve().parents[3]
SITE = '[site]\nprefix = "LAB"\n[[device]]\nname = "HV1"\ntype = "caen-dt55xx"\naddress = "tcp://127.0.0.1:23"\n'


def database_of(text: str = SITE) -> Database:
    return expand(parse_site(tomllib.loads(text)))


@pytest.fixture
def channel_template(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Replace the templates of the family by one channel template."""

    def use(text: str) -> None:
        found = Templates(parse_text("", "d.template"), parse_text(text, "c.template"))
        monkeypatch.setattr(database, "family_templates", lambda family: found)
        monkeypatch.setattr(database, "template", lambda name: parse_text("", f"{name}.template"))

    return use


def errors(text: str = SITE) -> list[str]:
    with pytest.raises(DatabaseError) as caught:
        database_of(text)
    return caught.value.errors


def test_every_device_and_channel_gets_its_records():
    records = database_of(SITE + "channels = 2\n").records
    assert records["LAB:HV1:CH00:VMON"].fields["INP"] == "@HV1 CH00.VMON"
    assert records["LAB:HV1:CH01:VSET"].fields["OUT"] == "@HV1 CH01.VSET"
    assert records["LAB:HV1:BD:NAME"].fields["INP"] == "@HV1 BD.NAME"
    assert records["LAB:IOC:HEARTBEAT"].fields["INP"] == "@IOC HEARTBEAT"
    assert "LAB:HV1:CH02:VMON" not in records


@pytest.mark.parametrize(("period", "choice"), [("0.1", ".1 second"), ("2", "2 second"), ("10.0", "10 second")])
def test_the_period_becomes_the_scan_of_fast_records(period: str, choice: str):
    records = database_of(SITE + f"period = {period}\n").records
    assert records["LAB:HV1:CH00:VMON"].fields["SCAN"] == choice
    assert records["LAB:HV1:CH00:MAXV:RBV"].fields["SCAN"] == "10 second"


def test_aliases_name_every_pv_of_the_channel_without_prefix():
    got = database_of(SITE + '[device.channel.3]\nalias = "CALO:PMT07"\n')
    of_channel = family_records("caen-dt55xx")[1]
    assert len(got.aliases) == len(of_channel)
    assert got.aliases["CALO:PMT07:VSET:RBV"] == "LAB:HV1:CH03:VSET:RBV"
    assert got.records["LAB:HV1:CH03:VMON"].aliases == ("CALO:PMT07:VMON",)
    assert got.records["LAB:HV1:CH02:VMON"].aliases == ()


def test_alarms_of_the_site_reach_the_records_and_the_channel_wins():
    got = database_of(
        SITE
        + 'alarms = { VMON = { HIHI = 1500 }, "COMM:RTT" = { HIGH = 200 } }\n'
        + '[device.channel.1]\nalarms = { VMON = { HIHI = 900, HHSV = "MINOR" } }\n'
    ).records
    assert got["LAB:HV1:CH00:VMON"].fields["HIHI"] == "1500"
    assert got["LAB:HV1:CH00:VMON"].fields["HHSV"] == "MAJOR"
    assert got["LAB:HV1:CH01:VMON"].fields["HIHI"] == "900"
    assert got["LAB:HV1:CH01:VMON"].fields["HHSV"] == "MINOR"
    assert got["LAB:HV1:COMM:RTT"].fields["HSV"] == "MINOR"
    assert "HIHI" not in got["LAB:HV1:CH00:IMON"].fields


@pytest.mark.parametrize("wrong", ['ao, "{0}") {{ {1} info(off, "all")', 'bo, "{0}") {{ {1} info(off, "never")',
                                   'bo, "{0}") {{ info(off, "all")'])  # fmt: skip
def test_what_everything_off_switches_has_to_be_a_switch_of_a_device(channel_template: Any, wrong: str):
    link = 'field(DTYP, "labioc") field(OUT, "@$(DEV) CH$(CH).ON")'
    channel_template("record(" + wrong.format("$(P):$(DEV):CH$(CH):X", link) + " }\n")
    (error,) = errors(SITE + "channels = 1\n")
    assert error.startswith("c.template:1: record LAB:HV1:CH00:X: found info(off, ")
    assert error.endswith('allowed: info(off, "all") on a bo with DTYP labioc')


@pytest.mark.parametrize(
    "wrong",
    [
        'bo, "{0}") {{ field(DTYP, "labioc") field(OUT, "@$(DEV) CH$(CH).ON") info(keep, "0")',
        'bi, "{0}") {{ info(keep, "0")',
        'lsi, "{0}") {{ field(DTYP, "labioc") field(INP, "@$(DEV) CH$(CH).STATE") info(keep, "0")',
        'bo, "{0}") {{ field(VAL, "1") info(keep, "0")',
    ],
)
def test_what_survives_a_restart_has_to_be_an_output_of_the_server_itself(channel_template: Any, wrong: str):
    channel_template("record(" + wrong.format("$(P):$(DEV):CH$(CH):X") + " }\n")
    (error,) = errors(SITE + "channels = 1\n")
    assert error.startswith("c.template:1: record LAB:HV1:CH00:X: found info(keep, ")
    assert error.endswith("allowed: on an output or a lsi of the server itself, without a VAL")


@pytest.mark.parametrize("wrong", ['ao, "{0}") {{ info(restore, "last")', 'ai, "{0}") {{ info(restore, "ramp")'])
def test_the_part_in_a_restore_has_to_be_one_that_there_is(channel_template: Any, wrong: str):
    channel_template("record(" + wrong.format("$(P):$(DEV):CH$(CH):X") + " }\n")
    (error,) = errors(SITE + "channels = 1\n")
    assert error.startswith("c.template:1: record LAB:HV1:CH00:X: found info(restore, ")
    assert error.endswith("allowed: one of high limit, low limit, ramp, range, value on a setting")


def test_mistakes_in_names_and_links_name_file_line_record_and_field(channel_template: Any):
    channel_template(
        """record(ai, "$(P):$(DEV):CH$(CH):vmon") { }
record(ai, "$(P):$(DEV):CH$(CH):A") { field(DTYP, "labioc")
  field(INP, "@HV9 CH$(CH).VMON") }
record(ao, "$(P):$(DEV):CH$(CH):B") { field(DTYP, "labioc")
  field(OUT, "@$(DEV) CH$(CH).VMOM") }
record(ai, "$(P):$(DEV):CH$(CH):C") { field(DTYP, "labioc") field(INP, "12") }
record(ai, "$(P):$(DEV):CH$(CH):D") { field(DTYP, "labioc") }
record(ai, "$(P):$(DEV):SAME") { field(INP, "12") }
record(ai, "$(P):$(DEV):CH$(CH):E2345678901234567890123456789012345678901234567890123456789") { }
"""
    )
    long = "LAB:HV1:CH00:E2345678901234567890123456789012345678901234567890123456789"
    assert errors(SITE + "channels = 1\n") == [
        "c.template:1: record LAB:HV1:CH00:vmon: name is not made of capital letters, digits and _ between colons",
        "c.template:3: record LAB:HV1:CH00:A: field INP: no device HV9, there are IOC, HV1",
        "c.template:5: record LAB:HV1:CH00:B: field OUT: device HV1 has no signal CH00.VMOM",
        "c.template:6: record LAB:HV1:CH00:C: field INP: found '12', allowed: @DEVICE SIGNAL",
        "c.template:7: record LAB:HV1:CH00:D: field INP: found '', allowed: @DEVICE SIGNAL",
        f"c.template:9: record {long}: name has 72 characters, at most 60 are possible",
    ]
    assert errors(SITE + "channels = 2\n")[5:7] == [
        f"c.template:9: record {long}: name has 72 characters, at most 60 are possible",
        "c.template:1: record LAB:HV1:CH01:vmon: name is not made of capital letters, digits and _ between colons",
    ]
    assert (
        "c.template:8: record LAB:HV1:SAME: name LAB:HV1:SAME is already used in c.template:8 by LAB:HV1:SAME"
        in errors(SITE + "channels = 2\n")
    )


def test_a_soft_record_with_a_period_is_refused_for_nobody_would_scan_it(channel_template: Any):
    channel_template('record(ai, "$(P):$(DEV):CH$(CH):A") { field(SCAN, "1 second") }')
    assert errors(SITE + "channels = 1\n") == [
        "c.template:1: record LAB:HV1:CH00:A: field SCAN: a soft record is processed by puts and links alone, "
        "allowed: Passive"
    ]


def test_an_alias_that_is_already_a_pv_is_refused():
    (error,) = errors(SITE + '[device.channel.1]\nalias = "LAB:HV1:BD"\n')
    assert "record LAB:HV1:CH01:CLR:CMD: name LAB:HV1:BD:CLR:CMD is already used in " in error
    assert error.endswith(" by LAB:HV1:BD:CLR:CMD")


def test_every_record_can_be_made():
    records = RecordSet.build(expand(load_site(ROOT / "examples" / "site.toml")).records.values())
    assert records["LAB:HV1:CH00:VMON"].signal == "CH00.VMON"


def test_broken_templates_are_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "ioc.substitutions").write_text("file x.template {{}}")
    (tmp_path / "x.template").write_text('record(ai, "$(P):IOC:X") { field(DESC, "$(NOBODY)") }')
    template.cache_clear()
    monkeypatch.setattr(templates, "FOLDER", tmp_path)
    try:
        found = errors()
    finally:
        template.cache_clear()
    wrong = f"{tmp_path}/x.template:1: record LAB:IOC:X: field DESC: macro NOBODY is not defined"
    assert found == [f"{tmp_path}/ioc.substitutions:1: {wrong}"]


def test_a_thousand_channels_expand_and_every_one_has_its_alias():
    devices = "".join(
        f'[[device]]\nname = "HV{n}"\ntype = "caen-dt55xx"\naddress = "tcp://127.0.0.1:{1000 + n}"\nchannels = 40\n'
        f'[device.channel.0]\nalias = "CALO:PMT{n}"\n'
        for n in range(25)
    )
    site = parse_site(tomllib.loads('[site]\nprefix = "LAB"\n' + devices))
    got = expand(site)
    assert len(got.records) > 70_000
    assert {f"CALO:PMT{n}:VMON" for n in range(25)} <= got.aliases.keys()
