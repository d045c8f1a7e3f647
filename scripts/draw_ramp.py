"""Draw docs/images/ramp.svg from a run of the demo: a channel ramps up, its load breaks down, it trips.

    python scripts/draw_ramp.py

Takes about 40 s; needs pyepics. Every point is an event of a Channel Access monitor.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

from devices.rules.hv_channel import STATES

IMAGE = Path(__file__).resolve().parents[1] / "docs" / "images" / "ramp.svg"
CHANNEL = "LAB:HV1:CH00"
LOAD = "load 0 2"
LEFT, TOP, WIDTH, HEIGHT = 64, 92, 760, 220
VOLTS = 600.0
COLOURS = {
    "OFF": "#9aa5b1", "RAMP UP": "#5b9bd5", "ON": "#4caf6d", "LIMITING": "#f0b429", "DEVIATING": "#f0b429",
    "RAMP DOWN": "#5b9bd5", "TRIPPED": "#d64545",
}  # fmt: skip

Events = list[tuple[float, object]]


def start_demo() -> tuple[subprocess.Popen[str], int]:
    """Start the demo on ports of its own and point clients there; return it and the port of its back door."""
    process = subprocess.Popen(
        [Path(sys.executable).with_name("labioc"), "demo", "--port", "0"], text=True, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    printed = ""
    for line in process.stdout:
        printed += line
        if "Ctrl-C ends everything" in line:
            break
    port = re.search(r"EPICS_CA_ADDR_LIST=(\S+)", printed)
    door = re.search(r"echo trip 0 > /dev/tcp/127\.0\.0\.1/(\d+)", printed)
    assert port, printed
    assert door, printed
    os.environ.update(EPICS_CA_ADDR_LIST=port[1], EPICS_CA_AUTO_ADDR_LIST="NO")
    return process, int(door[1])


def record(door: int) -> tuple[Events, Events, list[tuple[float, str]]]:
    """Do what the picture shows; return the events of VMON and of STATE and what was done when."""
    import epics  # noqa: PLC0415  (reads the address of the demo when it is imported)

    volts: Events = []
    states: Events = []
    done: list[tuple[float, str]] = []
    epics.PV(f"{CHANNEL}:VMON", callback=lambda value, timestamp, **_: volts.append((timestamp, value)))
    state = epics.PV(
        f"{CHANNEL}:STATE", callback=lambda value, timestamp, **_: states.append((timestamp, STATES[value]))
    )

    def put(signal_name: str, value: float) -> None:
        done.append((time.time(), f"caput -c {signal_name} {value:g}"))
        epics.caput(f"{CHANNEL}:{signal_name}", value, wait=True)

    def reach(text: str) -> None:
        end = time.monotonic() + 60.0
        while state.get(as_string=True) != text:
            assert time.monotonic() < end, f"{text} was not reached"
            time.sleep(0.1)

    epics.caput(f"{CHANNEL}:TRIPTIME", 5, wait=True)
    time.sleep(2.0)
    put("VSET", 500)
    put("ON", 1)
    reach("ON")
    time.sleep(4.0)
    done.append((time.time(), "the load breaks down"))
    with socket.create_connection(("127.0.0.1", door)) as back:
        back.sendall(f"{LOAD}\n".encode())
        back.recv(100)
    reach("TRIPPED")
    time.sleep(5.0)
    return volts, states, done


def draw(volts: Events, states: Events, done: list[tuple[float, str]]) -> str:
    """Return the picture."""
    begin = done[0][0] - 2.0
    end = max(stamp for stamp, _ in volts) + 0.5

    def x(stamp: float) -> float:
        return LEFT + WIDTH * (min(max(stamp, begin), end) - begin) / (end - begin)

    def y(value: float) -> float:
        return TOP + HEIGHT * (1.0 - value / VOLTS)

    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 860 410" font-family="sans-serif" font-size="13">',
        '<rect width="860" height="410" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="24" font-size="15" font-weight="bold">{CHANNEL} of the demo</text>',
    ]
    for level in range(0, 601, 100):
        parts += [
            f'<line x1="{LEFT}" x2="{LEFT + WIDTH}" y1="{y(level):.1f}" y2="{y(level):.1f}" stroke="#e4e7eb"/>',
            f'<text x="{LEFT - 8}" y="{y(level) + 4:.1f}" text-anchor="end">{level}</text>',
        ]
    parts.append(f'<text x="14" y="{TOP - 12}">VMON / V</text>')
    spans = [*((stamp, str(text)) for stamp, text in states), (end, "")]
    for (stamp, text), (after, _) in pairwise(spans):
        if x(after) > x(stamp):
            parts.append(
                f'<rect x="{x(stamp):.1f}" y="{TOP + HEIGHT + 30}" width="{x(after) - x(stamp):.1f}" height="24" '
                f'fill="{COLOURS.get(text, "#cbd2d9")}"/>'
            )
            if x(after) - x(stamp) > 9 * len(text):
                parts.append(
                    f'<text x="{(x(stamp) + x(after)) / 2:.1f}" y="{TOP + HEIGHT + 47}" text-anchor="middle" '
                    f'fill="#ffffff" font-weight="bold" font-size="12">{text}</text>'
                )
    parts.append(f'<text x="{LEFT - 8}" y="{TOP + HEIGHT + 47}" text-anchor="end">STATE</text>')
    for row, (stamp, text) in enumerate(done):
        height = TOP - 44 + 18 * (row % 2)
        parts += [
            f'<line x1="{x(stamp):.1f}" x2="{x(stamp):.1f}" y1="{height + 5}" y2="{TOP + HEIGHT}" '
            'stroke="#7b8794" stroke-dasharray="3 3"/>',
            f'<text x="{x(stamp) + 4:.1f}" y="{height + 10}" font-family="monospace">{text}</text>',
        ]
    points = [(x(stamp), y(float(str(value)))) for stamp, value in volts if stamp >= begin - 2.0]
    line = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
    parts.append(f'<polyline points="{line}" fill="none" stroke="#1f4e79" stroke-width="2"/>')
    parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.5" fill="#1f4e79"/>' for a, b in points]
    for seconds in range(0, int(end - begin) + 1, 5):
        place = x(begin + seconds)
        parts.append(f'<text x="{place:.1f}" y="{TOP + HEIGHT + 18}" text-anchor="middle">{seconds}</text>')
    parts.append(f'<text x="{LEFT + WIDTH}" y="{TOP + HEIGHT + 76}" text-anchor="end">time / s; each dot is one event '
                 "of a Channel Access monitor</text>")  # fmt: skip
    return "\n".join([*parts, "</svg>", ""])


def main() -> None:
    """Run the demo, record it, and write the picture."""
    demo, door = start_demo()
    try:
        IMAGE.write_text(draw(*record(door)), encoding="utf-8")
    finally:
        demo.send_signal(signal.SIGINT)
        demo.wait(5.0)


if __name__ == "__main__":
    main()
