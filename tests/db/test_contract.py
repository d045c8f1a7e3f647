"""The tables of the PV names, record by record: what screens, alarm trees and archivers were made for."""

from __future__ import annotations

import pytest

from devices.registry import FAMILIES
from ioc.database.dbfile import RecordDef
from ioc.site.contract import SEVERITY_FIELDS
from ioc.site.templates import family_records, labels

CAEN, ISEG, EUROTHERM = "caen-dt55xx", "iseg-edcp", "eurotherm-3200"
HIGH_VOLTAGE = (CAEN, ISEG)
#: Suffix, record type, unit, decimals, who may write, when a point is archived (chg: on change). ``.`` is nothing.
CHANNEL = """
    VMON          ai       V     1  R  0.5
    IMON          ai       uA    3  R  1%
    VSET          ao       V     1  O  chg
    VSET:RBV      ai       V     1  R  chg
    VSET:HI       ai       V     1  R  chg
    VSET:LO       ai       V     1  R  chg
    ISET          ao       uA    2  O  chg
    ISET:RBV      ai       uA    2  R  chg
    ISET:HI       ai       uA    2  R  chg
    ON            bo       .     .  O  chg
    ON:RBV        bi       .     .  R  chg
    STATE         mbbi     .     .  R  chg
    MOVING        bi       .     .  R  chg
    VDIFF         ai       V     1  R  1
    EFFLOAD       ai       Mohm  2  R  2%
    FROZEN        bi       .     .  R  chg
    SETTLED       bi       .     .  R  chg
    POL           bi       .     .  R  chg
    RAMPUP        ao       V/s   0  E  chg
    RAMPUP:RBV    ai       V/s   0  R  chg
    RAMPDN        ao       V/s   0  E  chg
    RAMPDN:RBV    ai       V/s   0  R  chg
    STAT          longin   .     .  R  chg
    TRIP          bi       .     .  R  chg
    TRIP:COUNT    longin   .     .  R  chg
    TRIP:TIME     stringin .     .  R  chg
    TRIP:V        ai       V     1  R  chg
    TRIP:I        ai       uA    3  R  chg
    TRIP:ACK:CMD  bo       .     .  O  .
    CLR:CMD       bo       .     .  O  .
    BBOX:V        waveform V     1  R  .
    BBOX:I        waveform uA    3  R  .
    BBOX:T        waveform s     2  R  .
    REC:MODE      mbbo     .     .  E  chg
    REC:STATE     mbbi     .     .  R  chg
    REC:TRIES     longout  .     .  E  chg
    REC:LEFT      longin   .     .  R  chg
    REC:MSG       lsi      .     .  R  chg
"""
CAEN_ONLY = """
    MAXV          ao       V     0  E  chg
    MAXV:RBV      ai       V     0  R  chg
    TRIPTIME      ao       s     1  E  chg
    TRIPTIME:RBV  ai       s     1  R  chg
    PDWN          mbbo     .     .  E  chg
    PDWN:RBV      mbbi     .     .  R  chg
    IRANGE        mbbo     .     .  E  chg
    IRANGE:RBV    mbbi     .     .  R  chg
    BD:NAME       stringin .     .  R  chg
    BD:SERIAL     stringin .     .  R  chg
    BD:FW         stringin .     .  R  chg
    BD:NCH        longin   .     .  R  chg
    BD:ALARM      longin   .     .  R  chg
    BD:ILK        bi       .     .  R  chg
    BD:LOCAL      bi       .     .  R  chg
    BD:CLR:CMD    bo       .     .  O  .
"""
ISEG_ONLY = """
    VBOUNDS       ao       V     1  E  chg
    VBOUNDS:RBV   ai       V     1  R  chg
    IBOUNDS       ao       uA    3  E  chg
    IBOUNDS:RBV   ai       uA    3  R  chg
    VNOM          ai       V     0  R  chg
    INOM          ai       uA    0  R  chg
    EMCY:CMD      bo       .     .  O  .
    MOD:RAMPV     ao       %/s   2  E  chg
    MOD:RAMPV:RBV ai       %/s   2  R  chg
    MOD:RAMPV:VPS ai       V/s   1  R  chg
    MOD:STAT      longin   .     .  R  chg
    MOD:KILLEN    bo       .     .  E  chg
    MOD:KILLEN:RBV bi      .     .  R  chg
    MOD:SAFELOOP  bi       .     .  R  chg
    MOD:TEMPOK    bi       .     .  R  chg
    MOD:SUPPLYOK  bi       .     .  R  chg
    MOD:SERVICE   bi       .     .  R  chg
    MOD:SUMERR    bi       .     .  R  chg
    MOD:TEMP      ai       C     1  R  0.5
    MOD:SERIAL    stringin .     .  R  chg
    MOD:FW        stringin .     .  R  chg
    MOD:ARTICLE   stringin .     .  R  chg
    MOD:NCH       longin   .     .  R  chg
    MOD:CLR:CMD   bo       .     .  O  .
    BUS:STATE     mbbi     .     .  R  chg
    BUS:RX        ai       1/s   0  R  10%
    BUS:ERR       longin   .     .  R  chg
    BUS:FOREIGN   longin   .     .  R  10%
"""
FURNACE = """
    TEMP          ai       C     1  R  0.2
    TSET          ao       C     1  O  chg
    TSET:RBV      ai       C     1  R  chg
    TSET:HI       ai       C     1  R  chg
    TSET:LO       ai       C     1  R  chg
    TWORK         ai       C     1  R  0.2
    TDIFF         ai       C     1  R  0.5
    SLOPE         ai       C/min 2  R  0.2
    OUT           ai       %     1  R  1%
    OUT:HI        ao       %     1  E  chg
    OUT:HI:RBV    ai       %     1  R  chg
    RATE          ao       C/min 1  O  chg
    RATE:RBV      ai       C/min 1  R  chg
    MODE          mbbo     .     .  E  chg
    MODE:RBV      mbbi     .     .  R  chg
    REMOTE        bo       .     .  E  chg
    REMOTE:RBV    bi       .     .  R  chg
    PB            ao       C     1  E  chg
    PB:RBV        ai       C     1  R  chg
    TI            ao       s     0  E  chg
    TI:RBV        ai       s     0  R  chg
    TD            ao       s     0  E  chg
    TD:RBV        ai       s     0  R  chg
    STAT          longin   .     .  R  chg
    ACK:CMD       bo       .     .  O  .
    SAFE:CMD      bo       .     .  O  .
    WRITES        longin   .     .  R  chg
    PWR:COUNT     longin   .     .  R  chg
    PWR:START     stringin .     .  R  chg
    PWR:DUR       ai       s     0  R  chg
    PWR:TBEFORE   ai       C     1  R  chg
    PWR:TMIN      ai       C     1  R  chg
    PWR:TAFTER    ai       C     1  R  chg
    PWR:MSG       lsi      .     .  R  chg
    PWR:ACK:CMD   bo       .     .  O  .
"""
#: Of every device; how these are archived is left open.
DEVICE = """
    COMM          bi       .     .  R  *
    COMM:AGE      ai       s     1  R  *
    COMM:RTT      ai       ms    1  R  *
    COMM:ERRORS   longin   .     .  R  *
    COMM:RECONN   longin   .     .  R  *
    COMM:MSG      lsi      .     .  R  *
    SCAN:TIME     ai       ms    1  R  *
    SCAN:LATE     longin   .     .  R  *
    DISABLE       bo       .     .  E  *
    SIM           bi       .     .  R  *
    READONLY      bi       .     .  R  *
    PUT:MSG       lsi      .     .  R  *
    PUT:REFUSED   longin   .     .  R  *
"""
TABLES = (
    (FAMILIES, DEVICE), (HIGH_VOLTAGE, CHANNEL), ((CAEN,), CAEN_ONLY), ((ISEG,), ISEG_ONLY), ((EUROTHERM,), FURNACE),
)  # fmt: skip
ROWS = [
    (family, *row.split()) for families, table in TABLES for row in table.strip().splitlines() for family in families
]

LABELS = {
    "ON": ("OFF", "ON"),
    "ON:RBV": ("OFF", "ON"),
    "STATE": (
        "OFF", "ON", "RAMP UP", "RAMP DOWN", "LIMITING", "DEVIATING", "RECOVERING", "INHIBITED",
        "KILLED / EMERGENCY OFF", "TRIPPED", "FAULT", "UNKNOWN",
    ),
    "MOVING": ("STEADY", "RAMPING"),
    "POL": ("+", "-"),
    "TRIP": ("OK", "TRIPPED"),
    "REC:MODE": ("OFF", "ARMED"),
    "REC:STATE": ("IDLE", "WAIT", "RAMP", "HOLD", "LOCKOUT"),
    "PDWN": ("RAMP", "KILL"),
    "IRANGE": ("HIGH", "LOW"),
    "BD:ILK": ("NO", "YES"),
    "BD:LOCAL": ("REMOTE", "LOCAL"),
    "MOD:SAFELOOP": ("OPEN", "CLOSED"),
    "BUS:STATE": ("ACTIVE", "PASSIVE", "OFF"),
    "MODE": ("AUTO", "MANUAL"),
    "MODE:RBV": ("AUTO", "MANUAL"),
    "REMOTE": ("LOCAL", "REMOTE"),
    "REMOTE:RBV": ("LOCAL", "REMOTE"),
    "COMM": ("LOST", "OK"),
}  # fmt: skip
"""Texts of states, in their order."""


def _bits(severity: str, prefix: str, names: str) -> dict[str, dict[str, str]]:
    return {f"{prefix}:{name}": {"OSV": severity} for name in names.split()}


COMMON = {"DISABLE": {"OSV": "MINOR"}, "SIM": {"OSV": "MINOR"}}
OF_CHANNELS = {
    "STATE": {"FRSV": "MINOR", "FVSV": "MINOR", "SXSV": "MINOR", "EISV": "MAJOR"}
    | {"NISV": "MAJOR", "ELSV": "INVALID"},
    "FROZEN": {"OSV": "MINOR"},
    "TRIP": {"OSV": "MAJOR"},
    "REC:STATE": {"ONSV": "MINOR", "TWSV": "MINOR", "THSV": "MINOR", "FRSV": "MAJOR"},
    "REC:LEFT": {"LSV": "MINOR"},
}
SEVERITIES: dict[str, dict[str, dict[str, str]]] = {
    CAEN: COMMON
    | OF_CHANNELS
    | _bits("MINOR", "STAT", "MAXV MAXPW TWARN")
    | _bits("MAJOR", "STAT", "TRIP KILL CALERR")
    | {"BD:ALARM": {"HSV": "MINOR"}, "BD:ILK": {"OSV": "MAJOR"}, "BD:LOCAL": {"OSV": "MINOR"}},
    ISEG: COMMON
    | OF_CHANNELS
    | _bits("MINOR", "STAT", "ARC IERR CBND VBND")
    | _bits("MAJOR", "STAT", "EMCY ARCERR EINH TRIP CLIM VLIM")
    | {f"MOD:{name}": {"ZSV": "MAJOR"} for name in ("SAFELOOP", "TEMPOK", "SUPPLYOK")}
    | {"MOD:SERVICE": {"OSV": "MAJOR"}, "MOD:SUMERR": {"OSV": "MINOR"}}
    | {"MOD:TEMP": {"HSV": "MINOR", "HHSV": "MAJOR"}, "BUS:STATE": {"ONSV": "MINOR", "TWSV": "MAJOR"}},
    EUROTHERM: COMMON
    | _bits("MINOR", "STAT", "MANUAL NEWALM")
    | _bits("MAJOR", "STAT", "AL1 AL2 AL3 AL4 SBREAK LBREAK CTLOW CTLEAK CTOVER RANGE RSPFAIL")
    | {"OPMODE:RBV": {"ONSV": "MINOR", "TWSV": "MAJOR"}},
}
"""Severities that hold whatever the circumstances; what is not listed is never an alarm by itself.

COMM LOST is none by itself: the server makes it MAJOR, but not for a device that is disabled.
"""


def records(family: str) -> dict[str, RecordDef]:
    device, channel = family_records(family)
    return {**device, **channel}


@pytest.mark.parametrize(("family", "suffix", "rtyp", "unit", "digits", "who", "archive"), ROWS)
def test_a_record_is_what_the_table_says(
    family: str, suffix: str, rtyp: str, unit: str, digits: str, who: str, archive: str
):
    record = records(family)[suffix]
    kept = record.info.get("archive", ".").replace("monitor ", "").replace("monitor", "chg")
    found = (record.rtyp, record.fields.get("EGU", "."), record.fields.get("PREC", "."), record.info["access"])
    assert found == (rtyp, unit, digits, who)
    assert archive in (kept, "*")


@pytest.mark.parametrize("family", FAMILIES)
def test_states_have_the_texts_of_the_table(family: str):
    for suffix, record in records(family).items():
        if suffix in LABELS and record.rtyp in {"bi", "bo", "mbbi", "mbbo"}:
            assert labels(record) == LABELS[suffix], suffix


@pytest.mark.parametrize("family", FAMILIES)
def test_records_have_the_severities_of_the_tables(family: str):
    for suffix, record in records(family).items():
        given = {
            field: value for field, value in record.fields.items() if field in SEVERITY_FIELDS and value != "NO_ALARM"
        }
        assert given == SEVERITIES[family].get(suffix, {}), suffix
    assert SEVERITIES[family].keys() <= records(family).keys()
