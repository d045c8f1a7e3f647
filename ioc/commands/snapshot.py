"""``labioc snapshot SITE [FILE]``: save the settings of a running site."""

from __future__ import annotations

import argparse
import time

from ioc.commands.pv_arguments import complain
from ioc.commands.saved_settings import CONNECT_SECONDS, add_arguments, choose, look_once, plant_of
from ioc.snapshots.present import saved
from ioc.snapshots.snapshot import Snapshot, as_json, checked_path, write


def register(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("site", metavar="SITE", help="the site file")
    parser.add_argument(
        "file",
        nargs="?",
        metavar="FILE",
        help="file to write, .json or .csv (Phoebus); without, JSON is printed",
    )
    parser.add_argument("--partial", action="store_true", help="leave out what cannot be read, and save the rest")
    add_arguments(parser, CONNECT_SECONDS)


def run(args: argparse.Namespace) -> int:
    """Save; 1 when a setting cannot be read, and nothing is written then. Raises SiteError and SnapshotError.

    What the device is asked for and does not have, as an older one, is left out.
    """
    path = checked_path(args.file) if args.file else None
    plant = plant_of(args.site)
    chosen = choose(plant, args.only)
    now = time.time()
    present = look_once(plant, chosen, args.wait)
    good = tuple(saved(one) for one in present.values() if one.trouble is None)
    bad = [(one.pv, one.trouble) for one in present.values() if one.trouble is not None]
    for pv, trouble in bad:
        complain(f"{pv}: {trouble.text}{'; the device does not have it' if trouble.lacking else ''}")
    if not good or not (args.partial or all(trouble.lacking for _, trouble in bad)):
        complain("nothing is saved" + ("" if args.partial else "; --partial saves what can be read"))
        return 1
    snapshot = Snapshot(plant.prefix, now, good)
    for one in snapshot.settings:
        if one.demand != one.value:
            complain(f"{one.pv}: the device has {one.value}, which is saved; {one.demand} was set")
    if path is None:
        print(as_json(snapshot), end="")
    else:
        write(snapshot, path)
        print(f"{path}: {len(snapshot.settings)} settings")
    return 0
