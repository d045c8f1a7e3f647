"""Draw docs/images/init.svg: labioc init finds a simulated supply and a furnace, labioc check finds the file good.

    python scripts/draw_init.py

Takes about 20 s; needs rich. Everything in the picture was printed by the commands; only the name of the simulated
serial line is shortened.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

IMAGE = Path(__file__).resolve().parents[1] / "docs" / "images" / "init.svg"
LABIOC = str(Path(sys.executable).with_name("labioc"))
PORT = 1470
LINE = "/dev/serial/by-id/usb-FTDI_USB_RS485"


@contextmanager
def simulated(*arguments: str) -> Iterator[str]:
    """Run a simulator; yields what it announces."""
    process = subprocess.Popen([LABIOC, "simulate", *arguments], text=True, stdout=subprocess.PIPE)
    assert process.stdout is not None
    shown = ""
    for line in process.stdout:
        shown += line
        if "Ctrl-C ends it" in line:
            break
    try:
        yield shown
    finally:
        process.terminate()
        process.wait()


def session(line: str, folder: str) -> list[str]:
    """Run the commands; returns what a terminal shows."""
    devices = ("--device", f"caen-dt55xx=tcp://127.0.0.1:{PORT}", "--device", f"eurotherm-3200=serial://{line}")
    commands = (("init", "--prefix", "HALL", *devices), ("check", "site.toml"))
    shown = []
    for command in commands:
        done = subprocess.run(
            [LABIOC, *command], cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True
        )
        text = " ".join(command).replace(" --device", " \\\n    --device")
        shown += [f"$ labioc {text}", *done.stdout.splitlines(), ""]
    shown += ["$ cat site.toml", *Path(folder, "site.toml").read_text(encoding="utf-8").splitlines()]
    return [one.replace(line, LINE) for one in "\n".join(shown).splitlines()]


def draw(lines: list[str]) -> str:
    """Return the picture; fonts are those of the reader, nothing is loaded."""
    console = Console(record=True, width=124, file=StringIO(), force_terminal=True)
    for line in lines:
        text = Text(line, style="bold" if line.startswith("$") else "")
        text.highlight_regex(r"#.*$", "bright_black")
        text.highlight_regex(r"^found:.*$", "green")
        console.print(text, soft_wrap=True)
    svg = console.export_svg(title="labioc init")
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


def main() -> None:
    """Draw it."""
    with (
        simulated("caen-dt55xx", "--port", str(PORT)),
        simulated("eurotherm-3200", "--unit", "1") as shown,
        tempfile.TemporaryDirectory() as folder,
    ):
        line = re.search(r"serial://([^?\s]+)", shown)
        assert line is not None, shown
        IMAGE.write_text(draw(session(line[1], folder)), encoding="utf-8")


if __name__ == "__main__":
    main()
