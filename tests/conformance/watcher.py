"""A client in a process of its own that can be stopped and killed: it monitors and reports.

Run as ``python -m tests.conformance.watcher ADDRESS NAME...``; prints ``ready`` when every monitor has its first
event; answers each line of standard input with ``done COUNT LAST_VALUE``, the events of the first name so far.
"""

from __future__ import annotations

import sys

from tests import dbr
from tests.libca import Context


def main(address: str, names: list[str]) -> None:
    """Monitor until standard input ends."""
    with Context(address) as context:
        monitors = [channel.monitor(dbr.TIME + dbr.DOUBLE) for channel in context.connect(names)]
        for monitor in monitors:
            monitor.wait(1)
        print("ready 0", flush=True)
        for _ in sys.stdin:
            events = monitors[0].events
            value = events[-1].value
            print("done", len(events), value[0] if isinstance(value, tuple) else value, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
