"""The figures as a table in Markdown and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

REFERENCE = "C softIoc"
OURS = "labioc"


def _shown(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(results: dict[str, Any]) -> str:
    """Figures of every server, then how many times the C server's each of them is."""
    servers: dict[str, dict[str, float]] = results["servers"]
    kinds = [kind for kind, figures in servers.items() if "records" not in figures]
    rows = list(dict.fromkeys(row for kind in kinds for row in servers[kind]))
    lines = [f"- {key}: {value}" for key, value in results["about"].items()]
    lines += ["", f"| | {' | '.join(kinds)} | {OURS} / {REFERENCE} |", "|---" * (len(kinds) + 2) + "|"]
    for row in rows:
        cells = [_shown(servers[kind][row]) if row in servers[kind] else "-" for kind in kinds]
        ours, theirs = (servers.get(kind, {}).get(row) for kind in (OURS, REFERENCE))
        ratio = f"{ours / theirs:.2g}" if ours is not None and theirs else "-"
        lines.append(f"| {row} | {' | '.join(cells)} | {ratio} |")
    if "caproto ai" in servers:
        one = servers["caproto ai"]
        lines += ["", f"caproto with record=\"ai\", {one['records']:.0f} records: {one['start s']:.1f} s to start, "
                  f"{one['RSS MB']:.0f} MB"]  # fmt: skip
    if "growth" in results:
        lines += ["", *_growth(results["growth"])]
    return "\n".join(lines)


def _growth(growth: dict[str, Any]) -> list[str]:
    lines = ["labioc, us of CPU per event by records: " + _course(growth["records"])]
    lines.append("labioc, us of CPU per delivered event by clients: " + _course(growth["clients"]))
    for key, title in (
        ("burst", "5000 readings at one moment"),
        ("quiet", "5000 readings spread over the second"),
        ("searches", "the same while names of others are asked for"),
    ):
        lines.append(f"labioc, {title}: " + ", ".join(f"{name} {_shown(value)}" for name, value in growth[key].items()))
    return lines


def _course(points: list[list[float]]) -> str:
    return ", ".join(f"{count:.0f}: {value:.1f}" for count, value in points)


def plot(results: dict[str, Any], path: Path) -> None:
    """Bars of the main figures, and how labioc's cost grows."""
    import matplotlib  # noqa: PLC0415 -- of the extra "bench" only

    matplotlib.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    servers = {kind: figures for kind, figures in results["servers"].items() if "records" not in figures}
    rows = list(dict.fromkeys(row for figures in servers.values() for row in figures))
    wanted = (
        "start s",
        "RSS MB",
        "connect",
        "us/event at",
        "us/event further",
        "events/s flat",
        "get p99",
        "event p99",
    )
    chosen = [row for row in rows if row.startswith(wanted)]
    columns = 4
    panels = len(chosen) + ("growth" in results)
    figure, axes = pyplot.subplots(-(-panels // columns), columns, figsize=(16, 3.4 * -(-panels // columns)))
    for axis, row in zip(axes.flat, chosen, strict=False):
        kinds = [kind for kind in servers if row in servers[kind]]
        colours = ["tab:orange" if kind == OURS else "tab:blue" for kind in kinds]
        axis.barh(kinds, [max(servers[kind][row], 1e-4) for kind in kinds], color=colours)
        axis.set_xscale("log")
        axis.set_title(row, fontsize=10)
        axis.invert_yaxis()
    for axis in list(axes.flat)[len(chosen) :]:
        axis.set_axis_off()
    if "growth" in results:
        axis = axes.flat[len(chosen)]
        axis.set_axis_on()
        for name in ("records", "clients"):
            axis.plot(*zip(*results["growth"][name], strict=True), marker="o", label=f"by {name}")
        axis.set_xscale("log")
        axis.set_ylim(bottom=0)
        axis.set_title("labioc: us of CPU per event", fontsize=10)
        axis.legend()
    about = results["about"]
    figure.suptitle(f"Channel Access servers, {about['date']}, {about['processor']}")
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    pyplot.close(figure)
