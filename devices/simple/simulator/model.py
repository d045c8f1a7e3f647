"""The model behind a simulated simple device: values by name, some of which follow others."""

from __future__ import annotations

import math
from collections.abc import Sequence

from devices.model import Value
from devices.simple.table import Row
from devices.simulation.backdoor import Action, switch


class TableModel:
    """The present values of a table; ``held`` are those that the back door has forced, which follow nothing."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = {row.name: row for row in rows if row.readable}
        self.values: dict[str, Value] = {name: row.simulated for name, row in self.rows.items()}
        self.held: set[str] = set()
        self.clips = False

    def step(self, seconds: float) -> None:
        """Let this time pass."""
        for name, row in self.rows.items():
            value, target = self.values[name], self.values.get(row.follows)
            if name not in self.held and isinstance(value, int | float) and isinstance(target, int | float):
                self.values[name] = value + (target - value) * (1 - math.exp(-seconds / row.seconds))

    def set(self, row: Row, value: float) -> bool:
        """Take a setting from the wire; return whether it is one that the device accepts."""
        if row.limits is not None and not row.limits[0] <= value <= row.limits[1]:
            if not self.clips:
                return False
            value = min(max(value, row.limits[0]), row.limits[1])
        self.values[row.name] = value
        return True

    def force(self, name: str, word: str) -> None:
        """Set a value from the back door and hold it there. Raises ValueError."""
        row = self.rows.get(name)
        if row is None:
            raise ValueError(f"no quantity {name}, there are {', '.join(self.rows)}")
        if row.labels:
            if word not in row.labels:
                raise ValueError(f"{word} is none of {', '.join(row.labels)}")
            self.values[name] = row.labels.index(word)
        else:
            self.values[name] = word if row.text else float(word)
        self.held.add(name)

    def release(self, name: str) -> None:
        """Let a value follow others again."""
        self.held.discard(name)

    def commands(self, faults: object, *switches: str) -> dict[str, tuple[str, Action]]:
        """Return the commands of a back door: for the values, and for each of these switches of ``faults``."""
        return {
            "show": ("", self.show),
            "set": ("NAME VALUE", self.force),
            "release": ("NAME", self.release),
            "clips": ("on|off", switch(self, "clips")),
            **{name: ("on|off", switch(faults, name)) for name in switches},
        }

    def show(self) -> str:
        """Return all values in one line."""
        return "; ".join(f"{name} {self._shown(row)}" for name, row in self.rows.items())

    def _shown(self, row: Row) -> str:
        value = self.values[row.name]
        if row.labels and isinstance(value, int | float):
            return row.labels[int(value)]
        return f"{value:.6g}" if isinstance(value, int | float) else str(value)
