"""The command ``labioc``.

Importing the sub-commands, with all that they need, takes most of a second. It is done inside ``main``, so that Ctrl-C
ends the command quietly from the first moment on.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from io import TextIOWrapper

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status; wrong usage ends in SystemExit(2) as argparse does it."""
    if sys.platform == "win32":
        print("labioc needs Linux: on Windows run it in WSL 2 or on another computer", file=sys.stderr)
        return 1
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a value may have bytes that are no text
            stream.reconfigure(errors="backslashreplace")
    try:
        from ioc.commandline import main as run  # noqa: PLC0415  see above

        return run(argv)
    except KeyboardInterrupt:
        return INTERRUPTED
