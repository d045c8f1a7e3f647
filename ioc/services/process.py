"""What this process takes of its computer: processor, memory, descriptors."""

from __future__ import annotations

import resource
from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class Usage:
    """Loads in % of all processors of the computer, memory in MB, descriptors as counts."""

    computer_load: float
    own_load: float
    memory: float
    descriptors: int
    most_descriptors: int


class ProcessMeter:
    """Looks at this process; a load is the mean since the last look, 0 at the first one."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._processors = psutil.cpu_count() or 1
        psutil.cpu_percent()

    def look(self) -> Usage:
        """Return what is used now. A thousand descriptors take about a millisecond to count."""
        return Usage(
            computer_load=psutil.cpu_percent(),
            own_load=self._process.cpu_percent() / self._processors,
            memory=self._process.memory_info().rss / 1e6,
            descriptors=self._process.num_fds(),
            most_descriptors=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        )
