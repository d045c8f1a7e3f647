"""What ``labioc snapshot``, ``diff`` and ``restore`` have in common: the settings of a site, and a file beside them."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from typing import Final

from ioc.client import Client
from ioc.commands.pv_arguments import add_wait, environment
from ioc.export.plant import Plant, Setting, settings
from ioc.site.config import load_site
from ioc.snapshots.plan import selected
from ioc.snapshots.present import Present, look, matching
from ioc.snapshots.snapshot import Saved, SnapshotError, checked_path, read

CONNECT_SECONDS: Final = 5.0


def add_arguments(parser: argparse.ArgumentParser, timeout: float) -> None:
    """Add what all three have; ``timeout`` in seconds."""
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="PATTERN",
        help="only settings that match, HV1:CH0*:VSET for example; it may be given several times",
    )
    add_wait(parser, timeout)


def plant_of(site: str) -> Plant:
    """Return the devices of a site. Raises SiteError or DatabaseError."""
    return Plant.build([load_site(site)])


def choose(plant: Plant, patterns: Sequence[str]) -> list[Setting]:
    """Return the settings that are meant. Raises SnapshotError when there is none."""
    chosen = matching(settings(plant), patterns, plant.prefix)
    if not chosen:
        raise SnapshotError([f"{' '.join(patterns) or 'the site'}: there is no such setting"])
    return chosen


def look_once(plant: Plant, chosen: Sequence[Setting], timeout: float) -> dict[str, Present]:
    """Return what is in force at the running servers now, by the names of the settings."""

    async def read() -> dict[str, Present]:
        async with Client(environment(plant.site)) as client:
            return await look(client, chosen, timeout)

    return asyncio.run(read())


def from_file(plant: Plant, file: str, patterns: Sequence[str]) -> tuple[list[Setting], dict[str, Saved], int]:
    """Return the settings that are meant and in a file, what the file has, and how many of those meant it lacks.

    Raises SnapshotError with every mistake in the file, and OSError.
    """
    path = checked_path(file)
    chosen = choose(plant, patterns)
    known = {one.record.name: one for one in settings(plant)}
    found, errors = selected(read(path), known, plant.aliases, plant.prefix)
    if errors:
        raise SnapshotError([f"{path}: {error}" for error in errors])
    there = [one for one in chosen if one.record.name in found]
    if not there:
        raise SnapshotError([f"{path}: it has none of the settings that are meant"])
    return there, found, len(chosen) - len(there)
