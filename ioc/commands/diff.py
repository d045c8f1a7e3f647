"""``labioc diff SITE FILE``: compare a snapshot with what is in force now."""

from __future__ import annotations

import argparse
import json

from ioc.commands.pv_arguments import complain
from ioc.commands.pvs import in_columns
from ioc.commands.saved_settings import CONNECT_SECONDS, add_arguments, from_file, look_once, plant_of
from ioc.snapshots.plan import mistakes
from ioc.snapshots.present import Present, equal, scalar, shown
from ioc.snapshots.snapshot import Saved

_HEADINGS = ("PV", "in the file", "now", "")


def register(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("site", metavar="SITE", help="the site file")
    parser.add_argument("file", metavar="FILE", help="a snapshot, .json or .csv")
    parser.add_argument("--json", action="store_true", help="one JSON object for each difference")
    add_arguments(parser, CONNECT_SECONDS)


def run(args: argparse.Namespace) -> int:
    """Print the differences; 1 when there is one. Raises SiteError, SnapshotError and OSError."""
    plant = plant_of(args.site)
    chosen, found, missing = from_file(plant, args.file, args.only)
    present = look_once(plant, chosen, args.wait)
    rows = [row for name, one in present.items() if (row := _difference(found[name], one)) is not None]
    if args.json:
        for pv, saved, value, note in rows:
            print(json.dumps({"pv": pv, "file": saved, "now": value, "note": note}))
    elif rows:
        print(in_columns([_HEADINGS, *rows]))
    else:
        print(f"{len(present)} settings are as in {args.file}")
    if missing:
        complain(f"settings of the site that are not in {args.file}: {missing}")
    return int(bool(rows))


def _difference(saved: Saved, present: Present) -> tuple[str, str, str, str] | None:
    wrong = [text.removeprefix(f"{present.pv}: ") for text in mistakes(saved, present)]
    if present.value is None:
        return present.pv, str(saved.value), "", "; ".join(wrong)
    if not wrong and equal(saved.value, scalar(present.value), present.value):
        return None
    return present.pv, shown(saved.value, present.value), present.value.quantity, "; ".join(wrong)
