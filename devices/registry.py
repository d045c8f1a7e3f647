"""The device families, by the ``type`` key of a ``[[device]]`` in the site file.

A family is one folder, one template and one line here; one of another package is an entry point in the group
``labioc.families``. Each is loaded when it is first asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from pkgutil import resolve_name

from devices.family import Family

log = logging.getLogger("labioc")

GROUP = "labioc.families"
"""Group of the entry points of families in other packages: the name is the type, the object a Family."""

_BUILT_IN = {
    "caen-dt55xx": "devices.caen.family:FAMILY",
    "iseg-edcp": "devices.iseg.family:FAMILY",
    "eurotherm-3200": "devices.eurotherm.family:FAMILY",
}


class Families(Mapping[str, Family]):
    """Every family by its type: the built-in ones in their order, then those of other packages."""

    built_in: Mapping[str, str]
    """Where the families of this package are, by type."""

    def __init__(self, built_in: Mapping[str, str] = _BUILT_IN) -> None:
        self.built_in = built_in
        self._loaded: dict[str, Family] = {}
        self._others: dict[str, Family] | None = None

    def __getitem__(self, type_: str) -> Family:
        if type_ not in self.built_in:
            return self._of_other_packages()[type_]
        if type_ not in self._loaded:
            self._loaded[type_] = resolve_name(self.built_in[type_])
        return self._loaded[type_]

    def __iter__(self) -> Iterator[str]:
        return iter((*self.built_in, *self._of_other_packages()))

    def __len__(self) -> int:
        return len(self.built_in) + len(self._of_other_packages())

    def _of_other_packages(self) -> dict[str, Family]:
        """Load the entry points once; one that cannot be used is logged and left out, the others are served."""
        if self._others is None:
            self._others = {}
            for point in sorted(entry_points(group=GROUP)):
                try:
                    family = point.load()
                    if not isinstance(family, Family) or family.type != point.name:
                        raise TypeError(f"{point.value} is not a Family of type {point.name}")
                    if point.name in self.built_in or point.name in self._others:
                        raise ValueError("there is a family of this type already")
                except Exception as error:
                    log.warning("device family %s cannot be used: %s: %s", point.name, type(error).__name__, error)
                else:
                    self._others[point.name] = family
        return self._others


FAMILIES = Families()
"""Every family by its type."""
