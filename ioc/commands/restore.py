"""``labioc restore SITE FILE``: put the settings of a snapshot in force again, in a safe order."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import Counter
from functools import partial

from ioc.client import Client
from ioc.commands.put import words_of
from ioc.commands.pv_arguments import environment, seconds
from ioc.commands.saved_settings import CONNECT_SECONDS, add_arguments, from_file, plant_of
from ioc.export.plant import Plant, Setting
from ioc.snapshots.apply import DONE, IN_FORCE, Outcome, Restore
from ioc.snapshots.plan import Plan, Step, make
from ioc.snapshots.present import look
from ioc.snapshots.snapshot import Saved, SnapshotError

_RAMP_SECONDS = 1800.0


def register(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
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
    add_arguments(parser, 30.0)


def run(args: argparse.Namespace) -> int:
    """Restore; 1 when a setting was not put in force. Raises SiteError, SnapshotError and OSError."""
    plant = plant_of(args.site)
    chosen, found, _ = from_file(plant, args.file, args.only)
    return asyncio.run(_restore(plant, chosen, found, args))


async def _restore(plant: Plant, chosen: list[Setting], found: dict[str, Saved], args: argparse.Namespace) -> int:
    async with Client(environment(plant.site)) as client:
        present = await look(client, chosen, min(args.wait, CONNECT_SECONDS))
        plan, errors = make(found, present, args.outputs)
        if errors:
            raise SnapshotError([*errors, "nothing was written"])
        if args.dry_run:
            for step in plan.steps:
                _print(step, args.json)
            outcomes: list[Outcome] = []
        else:
            why = partial(words_of, client, plant.site)
            restore = Restore(client, why, args.wait, args.ramp, args.go_on)
            outcomes = await restore.apply(plan.steps, lambda one: _print(one.step, args.json, one))
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
