"""What the tests of the durable log write into it and read from it: numbered points."""

from __future__ import annotations

from archiver.log.reader import Reader
from archiver.log.segments import SegmentLog


def put(log: SegmentLog, *numbers: int, width: int = 0) -> None:
    for number in numbers:
        log.append(b"x n=%di%s %d\n" % (number, b"0" * width, number), 1)
    assert log.flush()


def read_all(reader: Reader, max_bytes: int = 1000) -> list[int]:
    """Numbers of all points that are not committed; commits them."""
    got: list[int] = []
    while (block := reader.read(max_bytes)) is not None:
        numbers = [int(line.split()[-1]) for line in block.payload.splitlines()]
        assert len(numbers) == block.points
        got += numbers
        reader.commit(block.position)
    return got
