"""``labioc snapshot``, ``diff`` and ``restore``: the settings of a running site, and a file beside them."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Final

from ioc.client import Client
from ioc.commands.output import complain, in_columns
from ioc.commands.put import words_of
from ioc.commands.pv_arguments import add_wait, environment, seconds
from ioc.export.plant import Plant, Setting, settings
from ioc.site.config import load_site
from ioc.snapshots.apply import DONE, IN_FORCE, Outcome, Restore
from ioc.snapshots.plan import Plan, Step, make, mistakes, selected
from ioc.snapshots.present import Present, equal, look, matching, saved, scalar, shown
from ioc.snapshots.snapshot import Saved, Snapshot, SnapshotError, as_json, checked_path, read, write

_CONNECT_SECONDS: Final = 5.0
_RAMP_SECONDS: Final = 1800.0
_HEADINGS: Final = ("PV", "in the file", "now", "")


def snapshot_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``snapshot``."""
    parser.add_argument("site", metavar="SITE", help="the site file")
    parser.add_argument(
        "file",
        nargs="?",
        metavar="FILE",
        help="file to write, .json or .csv (Phoebus); without, JSON is printed",
    )
    parser.add_argument("--partial", action="store_true", help="leave out what cannot be read, and save the rest")
    _add_choice(parser, _CONNECT_SECONDS)


def snapshot(args: argparse.Namespace) -> int:
    """Save; 1 when a setting cannot be read, and nothing is written then. Raises SiteError and SnapshotError.

    What the device is asked for and does not have, as an older one, is left out.
    """
    path = checked_path(args.file) if args.file else None
    plant = _plant_of(args.site)
    chosen = _chosen(plant, args.only)
    now = time.time()
    present = _look_once(plant, chosen, args.wait)
    good = tuple(saved(one) for one in present.values() if one.trouble is None)
    bad = [(one.pv, one.trouble) for one in present.values() if one.trouble is not None]
    for pv, trouble in bad:
        complain(f"{pv}: {trouble.text}{'; the device does not have it' if trouble.lacking else ''}")
    if not good or not (args.partial or all(trouble.lacking for _, trouble in bad)):
        complain("nothing is saved" + ("" if args.partial else "; --partial saves what can be read"))
        return 1
    found = Snapshot(plant.prefix, now, good)
    for one in found.settings:
        if one.demand != one.value:
            complain(f"{one.pv}: the device has {one.value}, which is saved; {one.demand} was set")
    if path is None:
        print(as_json(found), end="")
    else:
        write(found, path)
        print(f"{path}: {len(found.settings)} settings")
    return 0


def diff_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``diff``."""
    parser.add_argument("site", metavar="SITE", help="the site file")
    parser.add_argument("file", metavar="FILE", help="a snapshot, .json or .csv")
    parser.add_argument("--json", action="store_true", help="one JSON object for each difference")
    _add_choice(parser, _CONNECT_SECONDS)


def diff(args: argparse.Namespace) -> int:
    """Print the differences; 1 when there is one. Raises SiteError, SnapshotError and OSError."""
    plant = _plant_of(args.site)
    chosen, found, missing = _from_file(plant, args.file, args.only)
    present = _look_once(plant, chosen, args.wait)
    rows = [row for name, one in present.items() if (row := _difference(found[name], one)) is not None]
    if args.json:
        for pv, in_file, value, note in rows:
            print(json.dumps({"pv": pv, "file": in_file, "now": value, "note": note}))
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


def restore_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``restore``."""
    parser.add_argument("site", metavar="SITE", help="the site file")
    parser.add_argument("file", metavar="FILE", help="a snapshot, .json or .csv")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and write nothing")
    parser.add_argument("--go-on", action="store_true", help="after a refusal go on with other channels and devices")
    parser.add_argument(
        "--outputs", action="store_true", help="switch outputs as well: OFF before everything else, ON after it"
    )
    parser.add_argument(
        "--ramp",
        type=seconds,
        default=_RAMP_SECONDS,
        metavar="S",
        help=f"wait so many seconds for an output to arrive ({_RAMP_SECONDS:g})",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object for each step")
    _add_choice(parser, 30.0)


def restore(args: argparse.Namespace) -> int:
    """Put a snapshot in force in a safe order; 1 when a setting was not put in force.

    Raises SiteError, SnapshotError and OSError.
    """
    plant = _plant_of(args.site)
    chosen, found, _ = _from_file(plant, args.file, args.only)
    return asyncio.run(_restore(plant, chosen, found, args))


async def _restore(plant: Plant, chosen: list[Setting], found: dict[str, Saved], args: argparse.Namespace) -> int:
    async with Client(environment(plant.site)) as client:
        present = await look(client, chosen, min(args.wait, _CONNECT_SECONDS))
        plan, errors = make(found, present, args.outputs)
        if errors:
            raise SnapshotError([*errors, "nothing was written"])
        if args.dry_run:
            for step in plan.steps:
                _print(step, args.json)
            outcomes: list[Outcome] = []
        else:
            why = partial(words_of, client, plant.site)
            restorer = Restore(client, why, args.wait, args.ramp, args.go_on)
            outcomes = await restorer.apply(plan.steps, lambda one: _print(one.step, args.json, one))
    if not args.json:
        print(_summary(plan, outcomes, args.dry_run))
    return int(any(one.result not in (DONE, IN_FORCE) for one in outcomes))


def _print(step: Step, as_json: bool, outcome: Outcome | None = None) -> None:
    """Print a step, and what became of it, as soon as that is known."""
    result, reason = (outcome.result, outcome.reason) if outcome is not None else ("planned", "")
    if as_json:
        about = {"pv": step.pv, "before": step.before, "value": step.value, "after_rest": bool(step.await_rest)}
        print(json.dumps(about | {"result": result, "reason": reason}), flush=True)
        return
    rest = ", once the output does not move" if step.await_rest and outcome is None else ""
    result_text = "" if outcome is None else f"  {result}{f': {reason}' if reason else ''}"
    print(f"{step.pv}  {step.text(step.before)} -> {step.text(step.value)}{rest}{result_text}", flush=True)


def _summary(plan: Plan, outcomes: list[Outcome], dry_run: bool) -> str:
    counts = Counter(one.result for one in outcomes)
    parts = [f"{len(plan.steps)} to write"] if dry_run else [f"{number} {result}" for result, number in counts.items()]
    parts.append(f"{plan.in_force} as in the snapshot")
    if plan.outputs:
        parts.append(f"{len(plan.outputs)} outputs left as they are (--outputs switches them)")
    return ", ".join(parts)


# ---- what all three have in common


def _add_choice(parser: argparse.ArgumentParser, timeout: float) -> None:
    """Add which settings are meant, and how long PVs may take; ``timeout`` in seconds."""
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="PATTERN",
        help="only settings that match, HV1:CH0*:VSET for example; it may be given several times",
    )
    add_wait(parser, timeout)


def _plant_of(site: str) -> Plant:
    return Plant.build([load_site(site)])


def _chosen(plant: Plant, patterns: Sequence[str]) -> list[Setting]:
    """Return the settings that are meant. Raises SnapshotError when there is none."""
    chosen = matching(settings(plant), patterns, plant.prefix)
    if not chosen:
        raise SnapshotError([f"{' '.join(patterns) or 'the site'}: there is no such setting"])
    return chosen


def _look_once(plant: Plant, chosen: Sequence[Setting], timeout: float) -> dict[str, Present]:
    """Return what is in force at the running servers now, by the names of the settings."""

    async def now() -> dict[str, Present]:
        async with Client(environment(plant.site)) as client:
            return await look(client, chosen, timeout)

    return asyncio.run(now())


def _from_file(plant: Plant, file: str, patterns: Sequence[str]) -> tuple[list[Setting], dict[str, Saved], int]:
    """Return the settings that are meant and in a file, what the file has, and how many of those meant it lacks.

    Raises SnapshotError with every mistake in the file, and OSError.
    """
    path = checked_path(file)
    chosen = _chosen(plant, patterns)
    known = {one.record.name: one for one in settings(plant)}
    found, errors = selected(read(path), known, plant.aliases, plant.prefix)
    if errors:
        raise SnapshotError([f"{path}: {error}" for error in errors])
    there = [one for one in chosen if one.record.name in found]
    if not there:
        raise SnapshotError([f"{path}: it has none of the settings that are meant"])
    return there, found, len(chosen) - len(there)
