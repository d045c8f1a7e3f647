"""How busy the wires of a site are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from devices.family import Keys
from devices.registry import FAMILIES
from ioc.site.config import Site

BUSY = 0.8
"""Share of the time of a wire above which reads come late."""


def wire_loads(site: Site) -> Mapping[str, tuple[float, list[str]]]:
    """Return for each wire the share of its time that reading takes, and the devices that are read over it.

    A wire is called as the first of its devices calls it in the site file. Wires of whose devices that is not known
    are left out.
    """
    loads: defaultdict[str, float] = defaultdict(float)
    names: defaultdict[str, list[str]] = defaultdict(list)
    called: dict[str, str] = {}
    for settings in site.devices:
        family = FAMILIES[settings.type]
        keys: Keys = {**settings.options, "address": settings.address} if settings.address else settings.options
        place, load = family.place(keys), family.load(settings)
        if place is not None and load is not None:
            called.setdefault(place.wire, settings.address.partition("?")[0] or place.wire)
            loads[place.wire] += load
            names[place.wire].append(settings.name)
    return {called[wire]: (load, names[wire]) for wire, load in loads.items()}
