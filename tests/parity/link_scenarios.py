"""Scenarios about links between records, and about what only corners of base's record support show.

Importing ``SCENARIOS`` from here gives the whole table.
"""

from __future__ import annotations

import math

from tests import dbr
from tests.parity.player import Player
from tests.parity.server_scenarios import SCENARIOS, scenario

__all__ = ["SCENARIOS"]


@scenario
def forward_loop(player: Player) -> None:
    """A chain of forward links that comes back to its beginning ends there."""
    player.watch("NEXT", "V")
    player.watch("LINK", "VLAP")
    player.put("LINK.FLNK", f"{player.prefix}LINK")
    player.put("LINK", 1.0)
    player.put("LINK.FLNK", f"{player.prefix}NEXT")
    player.put("NEXT.FLNK", f"{player.prefix}LINK")
    player.put("LINK", 2.0)
    player.put("NEXT", 3)
    player.put("NEXT.PROC", 1)
    player.fields("LINK", ("PACT", "VAL", "SEVR"))


@scenario
def disable_loop(player: Player) -> None:
    """SDIS processes what it leads to, and a chain of such links that comes back to its beginning ends there."""
    player.watch("NEXT", "V")
    player.watch("LINK", "VLAP")
    player.put("LINK.SDIS", f"{player.prefix}LINK PP")
    player.put("LINK", 2.0)
    player.put("LINK.SDIS", f"{player.prefix}NEXT PP")
    player.put("NEXT.SDIS", f"{player.prefix}LINK PP")
    player.put("LINK", 3.0)
    player.put("NEXT", 4)
    player.put("NEXT.PROC", 1)
    player.fields("LINK", ("PACT", "VAL", "SEVR", "DISA"))
    player.fields("NEXT", ("PACT", "VAL", "SEVR", "DISA"))


@scenario
def forward_to_scanned(player: Player) -> None:
    """A forward link processes passive records only, whatever field it names."""
    player.watch("NEXT", "V")
    player.put("NEXT.SCAN", "Event")  # no period: its moment could come meanwhile
    player.put("LINK", 1.0)
    for field in ("PROC", "VAL"):
        player.put("LINK.FLNK", f"{player.prefix}NEXT.{field}")
        player.put("LINK", 2.0)
    player.put("NEXT.SCAN", "Passive")
    player.put("LINK", 3.0)


@scenario
def forward_to_alias(player: Player) -> None:
    """A link may name an alias; base shows forward links without options."""
    player.watch("F_AI", "VLAP")
    for link in ("OTHER_NAME", "F_AI PP MS"):
        player.put("LINK.FLNK", f"{player.prefix}{link}")
        player.put("LINK", 1.0)
        player.fields("LINK", ("FLNK",))
    player.put("LINK.FLNK", "  ")
    player.put("LINK", 4.0)


@scenario
def disable_link(player: Player) -> None:
    """SDIS reads DISA from another record; a constant put there changes nothing."""
    player.watch("B_AO", "VLAP")
    player.put("B_AO", 1.0)
    prefix = player.prefix
    for link in (f"{prefix}NEXT", f"{prefix}OTHER_NAME.VAL", f"{prefix}NEXT.VAL NPP MS", "1", f"{prefix}NEXT", "0", ""):
        player.put("B_AO.SDIS", link)
        player.fields("B_AO", ("SDIS", "DISA"))
        for value in (1, 0):
            player.put("NEXT", value)
            player.put("F_AI", float(value))
            player.drive("B_AO", 2.0 + value)
            player.fields("B_AO", ("DISA",))


@scenario
def disable_link_severity(player: Player) -> None:
    """Options of a link hand on the alarm of the record that it reads, or process it."""
    player.watch("B_AO", "VLAP")
    player.watch("F_AI", "VLAP")
    for options in ("MS", "MSI", "MSS", "NMS", "PP MS"):
        player.put("B_AO.SDIS", f"{player.prefix}F_AI {options}")
        player.fields("B_AO", ("SDIS",))
        for value in (50.0, 85.0, math.nan):
            player.put("F_AI", value)
            player.put("B_AO", 2.0)
            player.fields("B_AO", ("VAL", "STAT", "SEVR"))


@scenario
def deadbands_without_end(player: Player) -> None:
    """A dead band that is NaN or infinite holds back even the change to NaN."""
    player.watch("F_AI", "V", "L")
    for band in (math.nan, math.inf):
        player.put("F_AI.MDEL", band)
        player.put("F_AI", 85.0, 86.0, math.nan, math.inf, -math.inf, 1.0)


@scenario
def acknowledge_disabled(player: Player) -> None:
    """DISP keeps acknowledgements out too."""
    player.watch("F_AI", "VLAP", dbr_type=dbr.STSACK_STRING)
    player.drive("F_AI", 120.0)
    player.put("F_AI.DISP", 1)
    player.drive("F_AI", 3, dbr_type=dbr.PUT_ACKS)
    player.drive("F_AI", 0, dbr_type=dbr.PUT_ACKT)
    player.put("F_AI.DISP", 0)
    player.drive("F_AI", 65535, dbr_type=dbr.PUT_ACKS)
    player.drive("F_AI.HIHI", 0, dbr_type=dbr.PUT_ACKT)


@scenario
def output_values(player: Player) -> None:
    """OVAL of an ao is posted with each change, whatever MDEL holds back of VAL; PVAL never is."""
    for record, watched in (("F_AO", "OVAL"), ("F_AO", "PVAL"), ("F_LO", "PVAL"), ("F_SO", "OVAL"), ("F_SI", "OVAL")):
        player.watch(record, "V", "A")
        player.watch(f"{record}.{watched}", "V", "L", "VLAP")
        if record in ("F_AO", "F_LO"):
            player.drive(record, 150.0, 150.5, 149.0, 149.0, -50.5, 50.0)
            player.put(f"{record}.PROC", 1)
        else:
            player.drive(record, "one", "one", "two")
        player.unwatch()


@scenario
def undefined_texts(player: Player) -> None:
    """Texts have no UDF alarm of their own; those of inputs keep UDF until a value comes."""
    for record in ("B_SI", "F_SI", "B_SO", "F_SO", "B_LSI", "F_LSI"):
        player.watch(record, "V", "A", "VLAP")
        player.state(record)
        player.drive(f"{record}.PROC", 1)
        player.drive(f"{record}.UDFS", "MINOR")
        player.drive(f"{record}.PROC", 1)
        player.drive(record, "1")
        player.drive(f"{record}.UDF", 1)
        player.drive(f"{record}.PROC", 1)
        player.drive(record, "2")
        player.unwatch()


@scenario
def disabled_arrays(player: Player) -> None:
    """DISP and DISA hold for arrays and texts too."""
    for record, one, two in (("F_WF", [1.0], [2.0]), ("C_WF", b"1", b"2"), ("F_SO", "1", "2"), ("B_SI", "1", "2")):
        player.watch(record, "V", "A", "VLAP")
        player.put(record, one)
        player.put(f"{record}.DISP", 1)
        player.drive(record, two)
        player.put(f"{record}.DISP", 0)
        player.drive(f"{record}.DISS", "MAJOR")
        player.drive(f"{record}.DISA", 1)
        player.drive(record, two)
        player.drive(f"{record}.PROC", 1)
        player.drive(f"{record}.DISA", 0)
        player.drive(f"{record}.PROC", 1)
        player.drive(record, one)
        player.unwatch()
