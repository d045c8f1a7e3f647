"""A serial port that is found again when its USB adapter comes back under another number."""

from __future__ import annotations

import os
import select
import termios
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import serial

from devices.links.transport import close_port

PARITIES = {"none": serial.PARITY_NONE, "even": serial.PARITY_EVEN, "odd": serial.PARITY_ODD}
BAUDRATES = (9600, 19200, 4800, 2400, 1200)
STABLE_NAMES = Path("/dev/serial")  # udev keeps by-id/ and by-path/ in it
ALLOWED = (
    "serial:///dev/NAME with ?baudrate=9600 (default), 19200, 4800, 2400 or 1200 "
    "and &parity=none (default), even or odd"
)


@dataclass(frozen=True, slots=True)
class ModbusAddress:
    """Which serial port, and how; always 8 data bits and 1 stop bit (HA026230)."""

    device: str
    baudrate: int = 9600
    parity: str = "none"

    @property
    def character(self) -> float:
        """How many seconds one character takes."""
        return (10 if self.parity == "none" else 11) / self.baudrate


def parse_modbus_address(address: str) -> ModbusAddress:
    """Read the ``address`` of a device; raises ValueError that says what is allowed."""
    url = urlsplit(address)
    try:
        options = dict(parse_qsl(url.query, keep_blank_values=True, strict_parsing=bool(url.query)))
        baudrate, parity = int(options.pop("baudrate", "9600")), options.pop("parity", "none")
    except ValueError as error:
        raise ValueError(f"address {address!r}: {error}; allowed is {ALLOWED}") from error
    if url.scheme != "serial" or not url.path.strip("/") or url.netloc or options:
        raise ValueError(f"address {address!r}: allowed is {ALLOWED}")
    if baudrate not in BAUDRATES or parity not in PARITIES:
        raise ValueError(f"address {address!r}: allowed is {ALLOWED}")
    return ModbusAddress(url.path, baudrate, parity)


def stable_name(device: str, names: Path = STABLE_NAMES) -> str:
    """Return the name by which udev knows the adapter behind a device, or the device when there is none."""
    if os.path.islink(device):
        return device
    for link in (*sorted(names.glob("by-id/*")), *sorted(names.glob("by-path/*"))):
        if link.is_symlink() and os.path.realpath(link) == os.path.realpath(device):
            return str(link)
    return device


class SerialWire:
    """The port. Once it was open its stable name is what counts: another adapter under the old number is not taken.

    ``character`` is how many seconds one character takes. Every method but ``close`` raises OSError when the port
    cannot be opened or is gone.
    """

    def __init__(self, address: ModbusAddress, names: Path = STABLE_NAMES) -> None:
        self.name = address.device
        self.baudrate = address.baudrate
        self.character = address.character
        self._parity = PARITIES[address.parity]
        self._names = names
        self._path = ""
        self._port: serial.Serial | None = None

    def open(self) -> None:
        """Open the port for ourselves alone."""
        path = self._path or stable_name(self.name, self._names)
        try:
            self._port = serial.Serial(
                path, self.baudrate, parity=self._parity, timeout=0, write_timeout=1.0, exclusive=True
            )
        except termios.error as error:  # pyserial lets it through, and it is not an OSError
            raise OSError(*error.args) from error
        self._path = path
        # FTDI adapters hold bytes back for 16 ms unless set otherwise; other ports do not know the request.
        with suppress(ValueError, NotImplementedError):
            self._port.set_low_latency_mode(True)

    def close(self) -> None:
        """Close the port; safe to call twice."""
        port, self._port = self._port, None
        if port is not None:
            close_port(port)

    def is_current(self) -> bool:
        """Whether the port is open and its name still leads to it."""
        try:
            return self._port is not None and os.stat(self._path).st_rdev == os.fstat(self._port.fileno()).st_rdev
        except OSError:
            return False

    def write(self, data: bytes) -> None:
        """Send all of data."""
        try:
            self._opened().write(data)
        except termios.error as error:
            raise OSError(*error.args) from error

    def read(self, seconds: float) -> bytes:
        """Return what has arrived, empty when nothing did for so long; 0 does not wait."""
        port = self._opened()
        ready, _, _ = select.select([port.fileno()], [], [], seconds)
        return port.read(max(1, port.in_waiting)) if ready else b""

    def _opened(self) -> serial.Serial:
        if self._port is None:
            raise OSError("not open")
        return self._port
