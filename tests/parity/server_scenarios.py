"""Scenarios of the whole server: scans, links, aliases, filters and fields that are watched or refuse."""

from __future__ import annotations

from tests import dbr
from tests.parity.player import Player
from tests.parity.scenarios import SCENARIOS, scenario

__all__ = ["SCENARIOS", "scenario"]


@scenario
def drive_limits(player: Player) -> None:
    """Outputs clamp to DRVH and DRVL unless both are equal."""
    for record in ("F_AO", "F_LO"):
        player.watch(record, "V", "VLAP", dbr_type=dbr.CTRL + player.channel(record).field_type)
        player.drive(record, 1000.0, -1000.0, 50.0)
        player.drive(f"{record}.DRVH", 60.0)
        player.drive(record, 70.0)
        player.drive(f"{record}.DRVL", 65.0)
        player.drive(record, 0.0)
        player.drive(f"{record}.DRVL", 60.0)
        player.drive(record, 1000.0)
        player.get(record, dbr.CTRL + dbr.DOUBLE)
    for record in ("B_AO", "B_LO"):
        player.drive(record, 1e6, -1e6)
        player.get(record, dbr.CTRL + dbr.DOUBLE)


@scenario
def forward_link(player: Player) -> None:
    """FLNK processes the next record; a client may point it elsewhere."""
    player.watch("NEXT", "V")
    player.put("LINK", 1.0, 2.0)
    player.put("LINK.PROC", 1)
    player.fields("LINK", ("FLNK",))
    player.watch("H_AI", "V")
    player.put("LINK.FLNK", f"{player.prefix}H_AI")
    player.fields("LINK", ("FLNK",))
    player.put("LINK", 3.0)
    player.put("LINK.FLNK", "")
    player.put("LINK", 4.0)
    player.fields("LINK", ("FLNK",))


@scenario
def scan_rates(player: Player) -> None:
    """SCAN takes the names and numbers of menuScan; a periodic record is not processed by a put.

    Only slow rates: a fast one might process the record in one server before the next put and not in the other.
    """
    player.watch("H_AI.SCAN", "V", dbr_type=dbr.STRING)
    player.put("H_AI.SCAN", "5 second", "Passive", "10 second", "Event", 0, 4, "7 second", "3")
    player.fields("H_AI", ("SCAN",))
    player.put("H_AI.SCAN", "10 second")
    player.put("H_AI", 5.0)
    player.state("H_AI")
    player.put("H_AI.PROC", 1)
    player.state("H_AI")
    player.put("H_AI.SCAN", "Passive")


@scenario
def periodic_scan(player: Player) -> None:
    """A record with a period is processed by itself: MDEL -1 shows each time."""
    events = player.channel("H_AI").monitor(mask=dbr.DBE_VALUE)
    events.wait(1)
    player.put("H_AI.SCAN", ".1 second")
    events.wait(5)
    player.put("H_AI.SCAN", "Passive")
    events.clear()
    player.watch("H_AI", "V")
    player.put("H_AI", 1.0)


@scenario
def fields_that_refuse(player: Player) -> None:
    """Fields that no client may write, and values that a menu does not have."""
    for field in ("NAME", "STAT", "SEVR", "ACKS", "ACKT", "LALM", "ALST", "MLST", "NSTA", "AMSG", "RTYP"):
        player.put(f"F_AI.{field}", "1")
    player.put("F_AI.HHSV", "MINOR", "NOT ONE", 2, 3, "1", "9")
    player.fields("F_AI", ("NAME", "STAT", "SEVR", "HHSV", "ASG", "RTYP", "DTYP"))


@scenario
def descriptions(player: Player) -> None:
    """DESC and DESC$: 40 characters at most, events to those who watch."""
    player.watch("F_AI.DESC", "V", "P")
    player.watch("F_AI.DESC$", "V")
    player.put("F_AI.DESC", "Short", "x" * 39, "y" * 45, "")
    player.put("F_AI.DESC$", b"Long way", b"z" * 40, b"w" * 60, dbr_type=dbr.CHAR)
    for name in ("F_AI.DESC", "F_AI.DESC$", "F_AI.NAME$", "F_SI.VAL$", "F_AI.EGU$"):
        player.get(name, dbr.STRING, 1)
        player.get(name, player.channel(name).field_type, 0)
        player.get(name, dbr.CTRL + player.channel(name).field_type, 0)
    player.put("F_SI.VAL$", b"by bytes", dbr_type=dbr.CHAR)
    player.state("F_SI")


@scenario
def watched_fields(player: Player) -> None:
    """Monitors on fields: those that change by a put to them and those that processing changes."""
    for name in ("HIHI", "SEVR", "STAT", "LALM", "UDF", "SCAN", "PREC", "HHSV"):
        player.watch(f"F_AI.{name}", "V", "L", "A", "VLAP")
    player.put("F_AI", 50.0, 90.0, 90.5, 120.0, 50.0)
    player.put("F_AI.HIHI", 45.0, 45.0, 46.0)
    player.put("F_AI.PREC", 3, 3)
    player.put("F_AI.HHSV", "MINOR")


@scenario
def aliases(player: Player) -> None:
    """An alias is the same record, and says its own name only in the search."""
    player.watch("OTHER_NAME", "V")
    player.watch("F_AI", "V")
    player.put("OTHER_NAME", 60.0)
    player.put("F_AI", 65.0)
    player.put("OTHER_NAME.HIGH", 62.0)
    player.fields("OTHER_NAME", ("NAME", "HIGH", "RTYP"))


@scenario
def filters(player: Player) -> None:
    """Channel filters: dead band, array slices, time stamps."""
    player.watch('H_AI.{"dbnd":{"abs":1.5}}', "V")
    # One monitor a channel: in base those of one channel share what its filter remembers.
    player.watch('H_AI.VAL{"dbnd":{"rel":10}}', "V")
    player.watch('H_AI.VAL{"dbnd":{"d":10,"m":"rel"}}', "V")
    player.watch('H_AI.{"dbnd":{"abs":0}}', "V")
    player.put("H_AI", *map(float, (10, 11, 11.4, 11.6, 13, 13, 14.6, 1, 0.9, 0.89, 0.5, -20)))
    player.watch('F_AI.{"ts":{}}', "V")
    player.put("F_AI", 50.0)
    player.watch('F_WF.{"arr":{"s":1,"e":3}}', "V")
    player.put("F_WF", [1.0, 2.0, 3.0, 4.0, 5.0], [7.0, 8.0])
    player.put("F_WF", [float(i) for i in range(8)])
    for name in (
        'F_WF.{"arr":{"s":1,"e":3}}',
        'F_WF.{"arr":{"s":-3}}',
        'F_WF.{"arr":{"s":0,"i":2,"e":-1}}',
        "F_WF.[1:3]",
        "F_WF.VAL[2]",
        "F_WF.[-2:-1]",
        "F_WF.[1:2:7]",
        'F_AI.HIHI{"ts":{}}',
    ):
        player.get(name, dbr.DOUBLE)
        player.log.append(f"count of {name}: {player.channel(name).element_count}")


@scenario
def process_passive(player: Player) -> None:
    """PROC processes; the time stamp moves, nothing else does."""
    for record in ("F_AI", "F_AO", "F_BI", "F_MBBO", "F_LI", "F_LO", "F_SI", "F_SO", "F_LSI", "F_WF"):
        player.watch(record, "VLAP")
        player.drive(f"{record}.PROC", 1, 0, 1)
        player.unwatch()
