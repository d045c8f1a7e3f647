#!/usr/bin/env python3
"""Read PVs for Zabbix over Channel Access.

    labioc_zabbix.py PV             value of one PV
    labioc_zabbix.py --list FILE    {"PV": {"value": ..., "sevr": ...}, ...} of all PVs that a file names, one a line

A PV that is not there, or whose value is INVALID, gives no value: alone it is an error with the reason, which makes the
item of Zabbix unsupported, and in the list its value is null. A number is never shown for a reading that is none.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from caproto import AlarmStatus
from caproto.threading.client import Context

SECONDS = 2.0
"""How long all PVs together may take to be found, and to answer. Agents wait three seconds for an item by default."""
INVALID = 3


def read(names: Sequence[str], seconds: float) -> dict[str, tuple[Any, int, str]]:
    """Return value, severity (0 to 3) and status of each PV that answers in time."""
    context = Context(timeout=seconds)
    try:
        pvs = context.get_pvs(*names)
        found = {}
        end = time.monotonic() + seconds
        for pv in pvs:
            try:
                pv.wait_for_connection(timeout=max(end - time.monotonic(), 0.001))
                answer = pv.read(data_type="time", timeout=max(end + seconds - time.monotonic(), 0.001))
            except (TimeoutError, RuntimeError):
                continue
            severity, status = int(answer.metadata.severity), AlarmStatus(answer.metadata.status).name
            found[pv.name] = (_value(answer.data), severity, status)
        return found
    finally:
        context.disconnect()


def _value(data: Any) -> Any:
    """Return a number, a text, or the text that an array of characters is."""
    if isinstance(data, (bytes, bytearray)):
        return bytes(data).partition(b"\0")[0].decode(errors="replace")
    values = data.tolist() if hasattr(data, "tolist") else list(data)
    if len(values) > 1 or not values:
        return bytes(values).partition(b"\0")[0].decode(errors="replace")
    return values[0].decode(errors="replace") if isinstance(values[0], bytes) else values[0]


def main(arguments: Sequence[str]) -> int:
    """Print what is asked for; exit status 1 when there is no value, 2 for wrong usage."""
    if len(arguments) == 2 and arguments[0] == "--list":
        names = Path(arguments[1]).read_text(encoding="utf-8").split()
        found = read(names, SECONDS)
        answers = {name: found.get(name, (None, INVALID, "disconnected")) for name in names}
        print(json.dumps({n: {"value": None if s == INVALID else v, "sevr": s} for n, (v, s, _) in answers.items()}))
        return 0
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    value, severity, status = read(arguments, SECONDS).get(arguments[0], (None, INVALID, "disconnected"))
    if severity == INVALID:
        print(f"{arguments[0]} has no value: {status}")
        return 1
    print(value)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
