"""labioc beside plain caproto, pythonSoftIOC, pcaspy and the C softIoc, under the same libca load on one computer.

Every server runs in turn as a process of its own (bench/ca_servers.py) with the clients in other processes
(bench/ca_client.py); a server that is not installed is left out. CPU times are those of the server's process. Writes
the table of figures and of ratios to the C softIoc to standard output, and ``ca.json`` and ``ca.png`` to the folder.

Run: python -m bench.ca_compare [--quick] [--soak HOURS] [--only KIND,...] [--output FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench import ca_growth, ca_report
from bench.ca_client import ClientProcess
from bench.ca_measure import SETTLE, Figures, counted, patience, serving
from bench.ca_servers import SERVERS, SETTING, Load, names
from tests.softioc import ServerProcess

OWN = {
    "jitter_p99": "scan jitter p99 ms",
    "pause_p99": "loop pause p99 ms",
    "pause_max": "loop pause max ms",
    "held_max": "loop held max ms",
}
"""What labioc tells about itself."""


@dataclass(frozen=True)
class Plan:
    """How much is measured: numbers of records, seconds of counting, numbers of requests."""

    records: int = 20_000
    connects: tuple[int, ...] = (10_000, 20_000)
    events: tuple[int, ...] = (5_000, 20_000)
    clients: int = 4
    seconds: float = 3.0
    requests: int = 300
    flat_out: int = 20_000


QUICK = Plan(2_000, (2_000,), (2_000,), 2, 1.5, 60, 5_000)


def start_and_connect(kind: str, plan: Plan) -> Figures:
    """Time to start, memory, time to connect, and searches for names of others."""
    figures: Figures = {}
    begun = time.perf_counter()
    with serving(kind, Load(total=plan.records)) as server:
        figures["start s"] = time.perf_counter() - begun
        figures["RSS MB"] = server.rss / 1e6
        for count in plan.connects:
            with ClientProcess(server.address) as client:
                figures[f"connect {count} s"] = client.ask("connect", names=names(count), deadline=patience(count))[
                    "seconds"
                ]
        with ClientProcess(server.address) as client:
            figures["foreign names/s"] = client.ask("search", known=names(1)[0], seconds=1.0)["names_per_s"]
    return figures


def publishing(kind: str, plan: Plan) -> Figures:
    """CPU per event at 1 Hz, for one client and for each further one."""
    figures: Figures = {}
    for count in plan.events:
        with serving(kind, Load(total=count, published=count)) as server, ClientProcess(server.address) as client:
            first = _one_more(server, client, count, plan)
            figures[f"us/event at {count}"] = first["us_per_event"]
            figures[f"arrived at {count}"] = first["events_per_s"] / count
            if count == plan.events[0]:
                figures |= _further(server, client, plan, first["cpu_share"])
    return figures


def _one_more(server: ServerProcess, client: ClientProcess, count: int, plan: Plan) -> dict[str, Any]:
    client.ask("connect", names=names(count), deadline=patience(count))
    client.ask("subscribe")
    time.sleep(SETTLE)
    return counted(server, client, plan.seconds)


def _further(server: ServerProcess, client: ClientProcess, plan: Plan, first: float) -> Figures:
    """What each further client costs, as far as the server gets; one that has stopped sending costs nothing."""
    count, figures = plan.events[0], {}
    for number in range(2, plan.clients + 1):
        try:
            result = _one_more(server, client, count, plan)
        except RuntimeError:  # it accepts no client any more
            break
        if result["events_per_s"] < 0.9 * number * count:
            break
        figures["us/event further client"] = (result["cpu_share"] - first) / (number - 1) / count * 1e6
    return figures


def latencies(kind: str, plan: Plan) -> Figures:
    """Times of gets, puts and events while 5000 PVs, fewer when quick, are posted each second to another client."""
    figures: Figures = {}
    count = plan.events[0]
    load = Load(total=count, published=count, watch=True)
    with (
        serving(kind, load) as server,
        ClientProcess(server.address) as listener,
        ClientProcess(server.address) as asker,
    ):
        listener.ask("connect", names=names(count), deadline=patience(count))
        listener.ask("subscribe")
        asker.ask("connect", names=names(100), deadline=patience(100))
        time.sleep(SETTLE)
        server.ask("stats")
        pending = listener.start("count", seconds=plan.requests * 0.02 + 1.0)
        for what, answer in (
            ("get", asker.ask("get", count=plan.requests)),
            ("put", asker.ask("put", name=SETTING, count=plan.requests)),
            ("event", pending()["delay"]),
        ):
            figures |= {f"{what} {share} ms": answer[share] for share in ("p50", "p99") if share in answer}
        own = json.loads("".join(server.ask("stats")[1:]) or "{}")
    return figures | {OWN[key]: value for key, value in own.items()}


def flat_out(kind: str, plan: Plan) -> Figures:
    """Events a second that arrive when far more are asked for than any of the Python servers can send."""
    load = Load(total=plan.flat_out, published=plan.flat_out, period=0.1)
    with serving(kind, load) as server, ClientProcess(server.address) as client:
        client.ask("connect", names=names(plan.flat_out), deadline=patience(plan.flat_out))
        client.ask("subscribe")
        time.sleep(SETTLE)
        result = counted(server, client, plan.seconds)
    return {"events/s flat out": result["events_per_s"], "us/event flat out": result["us_per_event"]}


PARTS = (start_and_connect, publishing, latencies, flat_out)


def measure(kind: str, plan: Plan) -> Figures:
    """All figures of one server; what can't be measured is left out and named."""
    figures: Figures = {}
    for part in PARTS:
        try:
            figures |= part(kind, plan)
        except (RuntimeError, TimeoutError) as error:
            print(f"# {kind}: {part.__name__}: {str(error)[:300]}", flush=True)
            if part is PARTS[0] and not figures:
                break
    return figures


def soak(hours: float) -> list[tuple[float, float]]:
    """Memory of labioc in MB by hour: 5000 PVs at 1 Hz to one client, another one comes and goes each minute."""
    course = []
    with (
        serving("labioc", Load(total=5_000, published=5_000)) as server,
        ClientProcess(server.address) as client,
        ClientProcess(server.address) as guest,
    ):
        client.ask("connect", names=names(5_000), deadline=patience(5_000))
        client.ask("subscribe")
        begun = time.monotonic()
        while (passed := time.monotonic() - begun) < hours * 3600:
            guest.ask("connect", names=names(1_000), deadline=patience(1_000))
            guest.ask("subscribe")
            client.ask("count", seconds=min(60.0, hours * 360))
            guest.ask("close")
            course.append((passed / 3600, server.rss / 1e6))
            print(f"# after {passed / 60:.1f} min: {course[-1][1]:.1f} MB", flush=True)
    return course


def about() -> dict[str, str]:
    """What was measured where and when."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    packages = ("caproto", "softioc", "pcaspy", "epicscorelibs")
    versions = {}
    for package in packages:
        try:
            versions[package] = version(package)
        except ModuleNotFoundError:
            versions[package] = "not installed"
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "processor": f"{model}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        **versions,
        "load before": f"{os.getloadavg()[0]:.2f}",
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.ca_compare", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller numbers and shorter times, two to three minutes")
    parser.add_argument("--soak", type=float, metavar="HOURS", help="only the memory of labioc over this time")
    parser.add_argument("--only", metavar="KIND,...", help=f"of {', '.join(SERVERS)}")
    parser.add_argument("--output", type=Path, default=Path("bench/results"), metavar="FOLDER")
    args = parser.parse_args(argv)
    if args.soak:
        soak(args.soak)
        return
    plan = QUICK if args.quick else Plan()
    kinds = args.only.split(",") if args.only else [kind for kind in SERVERS if kind != "caproto ai"]
    begun = time.monotonic()
    results: dict[str, Any] = {"about": about(), "servers": {}}
    for kind in kinds:
        print(f"# {kind}", flush=True)
        results["servers"][kind] = measure(kind, plan)
        save(results, args.output)
    if "caproto" in kinds:
        results["servers"]["caproto ai"] = ca_growth.with_fields(1_000 if args.quick else 5_000)
    if "labioc" in kinds:
        print("# labioc: growth", flush=True)
        results["growth"] = ca_growth.growth(args.quick)
    results["about"]["seconds"] = f"{time.monotonic() - begun:.0f}"
    save(results, args.output)
    print(ca_report.table(results))


def save(results: dict[str, Any], folder: Path) -> None:
    """Write what is there so far: figures and picture."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ca.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    ca_report.plot(results, folder / "ca.png")


if __name__ == "__main__":
    main()
