"""A process that appends numbered points to a durable log until it is killed, and says what it has appended.

Run as ``python -m tests.archiver.log.log_writer DIRECTORY FIRST``: each line of its output is the number of a point
that was appended at least 0.2 s before the line was printed.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from pathlib import Path

from archiver.log.reader import Reader
from archiver.log.segments import SegmentLog


async def main(directory: Path, number: int) -> None:
    """Append 1000 points a second."""
    log = SegmentLog(directory, max_bytes=50_000_000)
    reader = Reader(log, "server")
    task = asyncio.create_task(log.run())
    appended: deque[tuple[float, int]] = deque()
    while not task.done():
        log.append(b"".join(b"x n=%di %d\n" % (one, one) for one in range(number, number + 10)), 10)
        number += 10
        now = time.monotonic()
        appended.append((now, number - 1))
        await asyncio.sleep(0)  # what the loop had to do until now is done, also when the computer was busy
        while appended[0][0] <= now - 0.2:
            print(appended.popleft()[1], flush=True)
        block = reader.read(500)
        if block is not None:
            reader.commit(block.position)
        await asyncio.sleep(0.01)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
