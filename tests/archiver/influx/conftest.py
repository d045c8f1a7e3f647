"""Fixtures of the writer's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.archiver.influx.writer_rig import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    one = Bench(tmp_path)
    yield one
    if one.writer._thread.is_alive():
        one.writer.stop(0)
    one.fake.stop()
