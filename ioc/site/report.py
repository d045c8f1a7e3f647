"""What ``labioc check`` finds out beyond the site file itself: addresses, and how busy the wires are."""

from __future__ import annotations

import socket
from collections import defaultdict
from collections.abc import Iterator, Mapping

from devices.family import Keys
from devices.registry import FAMILIES
from ioc.site.config import Site

BUSY = 0.8
"""Share of the time of a wire above which reads come late."""


def interface_mistakes(site: Site) -> list[str]:
    """Return a sentence for each interface that the server could not listen at on this computer."""
    return list(_interface_mistakes(site))


def _interface_mistakes(site: Site) -> Iterator[str]:
    for number, name in enumerate(site.server.interfaces):
        try:
            found = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
            for *_, address in found[:1]:
                with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                    probe.bind((address[0], 0))
        except OSError as error:
            reason = error.strerror or str(error)
            yield f'server.interfaces[{number}]: found "{name}", allowed: an IPv4 address of this computer ({reason})'


def wire_loads(site: Site) -> Mapping[str, tuple[float, list[str]]]:
    """Return for each wire the share of its time that reading takes, and the devices that are read over it.

    Wires of whose devices that is not known are left out.
    """
    loads: defaultdict[str, float] = defaultdict(float)
    names: defaultdict[str, list[str]] = defaultdict(list)
    for settings in site.devices:
        family = FAMILIES[settings.type]
        keys: Keys = {**settings.options, "address": settings.address} if settings.address else settings.options
        place, load = family.place(keys), family.load(settings)
        if place is not None and load is not None:
            loads[place.wire] += load
            names[place.wire].append(settings.name)
    return {wire: (load, names[wire]) for wire, load in loads.items()}
