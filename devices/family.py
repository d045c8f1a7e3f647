"""A device family: everything that the rest of labioc has to know of one kind of hardware.

Drivers and simulators are named, not imported: a server loads the driver of the families it serves, and the simulator
only of a device that is to be simulated. Which families there are is in devices.registry.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar
from urllib.parse import parse_qsl

from devices.model import DeviceSettings, Driver, Signal

if TYPE_CHECKING:
    from devices.discovery import Discovery
    from devices.simulation.simulation import Simulation, Simulator

log = logging.getLogger("labioc")

T = TypeVar("T")

GROUP = "labioc.families"
"""Group of the entry points of families in other packages: the name is the type, the object a Family."""

Keys = Mapping[str, Any]
"""The keys of one ``[[device]]`` of a site file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a device is. Two devices at one place would take each other's answers and undo each other's settings.

    ``wire`` names the cable or connection, ``protocol`` what is spoken on a wire that devices may share, empty when it
    serves one device alone. ``number`` is the address on a shared wire, ``text`` the same in words (``unit 3``), and
    ``options`` are the settings of the line that all its devices have to agree on. ``key`` of the site file says so.
    """

    wire: str
    key: str = "address"
    protocol: str = ""
    number: int = 0
    text: str = ""
    options: Mapping[str, str] = field(default_factory=dict)


def line_of(address: str) -> str:
    """Return the name of the wire of an ``address``: the same for each way of writing it, without options."""
    line = address.partition("?")[0].rstrip("/")
    scheme, _, path = line.partition("://")
    if scheme == "serial":
        return f"serial://{os.path.realpath(path) if os.path.exists(path) else path}"
    return line.lower()  # names of hosts do not care about case


def alone(device: Keys) -> Place | None:
    """Return the place of a device that has its connection for itself; None when the address is missing."""
    address = device.get("address")
    return Place(wire=line_of(address)) if isinstance(address, str) else None


def numbered(protocol: str, key: str, default: int, options: Mapping[str, str]) -> Callable[[Keys], Place | None]:
    """Return what finds the place of a device that shares a line with others, each with a number under ``key``.

    ``options`` are the settings of the line that an address may leave out.
    """

    def place(device: Keys) -> Place | None:
        address, number = device.get("address"), device.get(key, default)
        if not isinstance(address, str) or not isinstance(number, int):
            return None
        return Place(
            wire=line_of(address),
            key=key if key in device else "address",
            protocol=protocol,
            number=number,
            text=f"{key} {number}",
            options={**options, **dict(parse_qsl(address.partition("?")[2]))},
        )

    return place


RTU_LINE: Keys = {
    "place": numbered("Modbus RTU", "unit", 1, {"baudrate": "9600", "parity": "none"}),
    "address": "serial:///dev/NAME?baudrate=9600&parity=none; 1200 to 19200 baud, parity none, even or odd",
    "timeout": 0.5,
    "read_address": "devices.links.modbus_serial:parse_modbus_address",
}
"""What families on a Modbus RTU line have in common."""


def numbers(value: Any, count: int) -> TypeGuard[list[float]]:
    """Tell whether the value of a key is a list of so many numbers."""
    return isinstance(value, list) and len(value) == count and all(isinstance(one, int | float) for one in value)


def _named(what: str | T) -> T:
    """Return what ``module:NAME`` is the name of, and anything else as it is."""
    found: T = resolve_name(what) if isinstance(what, str) else what
    return found


def _none(_device: Keys) -> Iterator[tuple[str, str]]:
    return iter(())


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One kind of hardware, served as ``[[device]]`` of this ``type``.

    ``template`` is the file with the records of a device, in ``db/`` or with an absolute path; one beside it called
    ``NAME-channel`` has those of a channel, behind those of ``channel_template``, which several families share.
    ``driver`` is ``module:Class``, or what makes one; it takes the DeviceSettings and raises ValueError when their
    address is not one of this family. ``simulated_by`` is ``module:NAME`` of a Simulation, or what returns one, empty
    when there is none. ``place`` tells where a device is.

    ``address`` says how an address is written; ``read_address`` is ``module:function``, or a function, that raises
    ValueError for any other. ``signals_by`` is ``module:function``, which takes the DeviceSettings and returns the
    signals of a device. Where one of the two is empty a driver is made to find out, which takes longer to import.

    ``required`` are the keys that a device needs beside name and type, ``options`` has the JSON Schema of each key
    beyond the common ones, ``timeout`` is the usual one in seconds, ``default_channels`` 0 for a device without
    channels. ``example`` is a device as a site file may have it; with ``demo`` it is part of ``labioc demo``.

    ``mistakes`` yields key and sentence for what a device may not have although the schema permits it. ``load_by`` is
    ``module:function``, which takes the DeviceSettings and returns the share of the time of its wire, 0 to 1, that
    reading a device takes. ``found_by`` is ``module:NAME`` of a Discovery, empty when devices cannot be looked for.

    ``registers``: the driver knows 16-bit registers by number. ``measurement`` is where the archiver puts the points of
    such devices.
    """

    type: str
    title: str
    template: str
    channel_template: str = ""
    driver: str | Callable[[DeviceSettings], Driver]
    simulated_by: str | Callable[[], Simulation[Any]] = ""
    place: Callable[[Keys], Place | None] = alone
    address: str = "tcp://HOST:PORT or serial:///dev/NAME?baudrate=9600"
    read_address: str | Callable[[str], object] = ""
    signals_by: str | Callable[[DeviceSettings], Mapping[str, Signal]] = ""
    required: tuple[str, ...] = ("address",)
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    timeout: float = 1.0
    default_channels: int = 0
    example: Keys = field(default_factory=dict)
    demo: bool = False
    registers: bool = False
    measurement: str = ""
    mistakes: Callable[[Keys], Iterator[tuple[str, str]]] = _none
    load_by: str | Callable[[DeviceSettings], float] = ""
    found_by: str | Discovery = ""

    @property
    def page(self) -> str:
        """The file of the reference page with the PVs of this family."""
        return f"{self.type.partition('-')[0]}-pvs.md"

    def make_driver(self, settings: DeviceSettings) -> Driver:
        """Return a driver, not connected yet; raises ValueError when the address is not one of this family."""
        return _named(self.driver)(settings)

    def check_address(self, address: str) -> None:
        """Raise ValueError when an address is not one of this family."""
        if self.read_address:
            _named(self.read_address)(address)
        else:
            self.make_driver(DeviceSettings("", self.type, address, channels=1))

    def signals(self, settings: DeviceSettings) -> Mapping[str, Signal]:
        """Return the signals that a device with these settings has, by name. Raises ValueError as ``make_driver``."""
        return _named(self.signals_by)(settings) if self.signals_by else self.make_driver(settings).signals()

    def example_settings(self, **more: Any) -> DeviceSettings:
        """Return the settings of the example, with others in place of some of them."""
        own = {key: value for key, value in self.example.items() if key in self.options}
        settings = {"name": "D", "address": self.example.get("address", ""), "options": own, "timeout": self.timeout}
        return DeviceSettings(type=self.type, **{**settings, **more})

    def load(self, settings: DeviceSettings) -> float | None:
        """Return the share of the time of its wire that reading a device takes, None when that is not known."""
        return _named(self.load_by)(settings) if self.load_by else None

    def discovery(self) -> Discovery | None:
        """Return how devices of this family are looked for, None when they cannot be."""
        return _named(self.found_by) if self.found_by else None

    def simulation(self) -> Simulation[Any]:
        """Return how this family is simulated; raises LookupError when it is not."""
        if not self.simulated_by:
            raise LookupError(f"there is no simulator for {self.type}")
        return _named(self.simulated_by) if isinstance(self.simulated_by, str) else self.simulated_by()

    def make_simulator(self, settings: DeviceSettings, port: int) -> Simulator:
        """Return a simulated device that answers a driver with these settings; ``port`` 0 is a free one."""
        simulator: Simulator = self.simulation().make(settings, port)
        return simulator


class Families(Mapping[str, Family]):
    """Every family by its type: the ``built_in`` ones in their order, then those of other packages.

    ``built_in`` are ``module:NAME`` by type; each is loaded when it is first asked for.
    """

    def __init__(self, built_in: Mapping[str, str]) -> None:
        self.built_in = built_in
        self._loaded: dict[str, Family] = {}

    def __getitem__(self, type_: str) -> Family:
        if type_ not in self._loaded:
            own = self.built_in.get(type_)
            self._loaded[type_] = self._of_other_packages[type_] if own is None else resolve_name(own)
        return self._loaded[type_]

    def __iter__(self) -> Iterator[str]:
        return iter((*self.built_in, *self._of_other_packages))

    def __len__(self) -> int:
        return len(self.built_in) + len(self._of_other_packages)

    @cached_property
    def _of_other_packages(self) -> dict[str, Family]:
        """The families of entry points; one that cannot be used is logged and left out, the others are served."""
        from importlib.metadata import entry_points  # noqa: PLC0415  takes long to import, and few sites need it

        found: dict[str, Family] = {}
        for point in sorted(entry_points(group=GROUP)):
            try:
                family = point.load()
                if not isinstance(family, Family) or family.type != point.name:
                    raise TypeError(f"{point.value} is not a Family of type {point.name}")
                if point.name in self.built_in or point.name in found:
                    raise ValueError("there is a family of this type already")
            except Exception as error:
                log.warning("device family %s cannot be used: %s: %s", point.name, type(error).__name__, error)
            else:
                found[point.name] = family
        return found
