"""Where a simulated segment meets its hosts: any python-can interface, or an slcan adapter on a pseudo terminal."""

from __future__ import annotations

import os
import time
from collections import deque
from contextlib import suppress
from typing import Any

import can

from devices.links.can_bus import frame_of
from devices.links.can_frame import Frame
from devices.simulation.ports import Terminal

ECHO_SECONDS = 0.5
"""How long an own frame may take to come back."""

LONGEST_LINE = 64  # bytes of an slcan command
_BIT_RATES = dict(zip("012345678", (10, 20, 50, 100, 125, 250, 500, 800, 1000), strict=True))  # kbit/s, by digit of S


class CanPort:
    """A bus of python-can; frames of one's own that the interface hands back are dropped."""

    kbit = 0
    """Bit rate that the host has chosen in kbit/s, which python-can does not tell."""

    def __init__(self, interface: str, options: dict[str, Any]) -> None:
        self._bus = can.Bus(interface=interface, **options)
        self._echoes = interface == "udp_multicast"
        self._sent: deque[tuple[float, int, bytes]] = deque()

    def receive(self, seconds: float) -> Frame | None:
        """Wait for a frame of a host, for so long at most."""
        message = None
        with suppress(can.CanError):  # a packet that is none: as good as noise
            message = self._bus.recv(max(0.0, seconds))
        if message is None or self._is_echo(frame := frame_of(message)):
            return None
        return frame

    def _is_echo(self, frame: Frame) -> bool:
        now = time.monotonic()
        while self._sent and self._sent[0][0] < now - ECHO_SECONDS:
            self._sent.popleft()
        for n, (_, identifier, data) in enumerate(self._sent):
            if (identifier, data) == (frame.id, frame.data):
                del self._sent[n]
                return True
        return False

    def send(self, frame: Frame) -> None:
        """Send a frame to the hosts."""
        if self._echoes:
            self._sent.append((time.monotonic(), frame.id, frame.data))
        message = can.Message(
            arbitration_id=frame.id,
            data=frame.data,
            is_extended_id=frame.extended,
            is_remote_frame=frame.remote,
            is_error_frame=frame.error,
        )
        with suppress(can.CanError):  # a host that does not read: frames are lost, as on a real bus
            self._bus.send(message)

    def close(self) -> None:
        """Leave the bus."""
        self._bus.shutdown()


class SlcanPort:
    """The adapter's side of the slcan protocol (Lawicel) on a pseudo terminal.

    ``path`` is what a host opens: a link to the terminal, so that an adapter plugged in again has the same one.
    """

    def __init__(self, path: str) -> None:
        self._terminal = Terminal()
        self.path = path
        os.symlink(self._terminal.path, path)
        self.write_raw = self._terminal.write
        self.kbit, self._open, self._line = 0, False, b""
        self._frames: deque[Frame] = deque()

    def receive(self, seconds: float) -> Frame | None:
        """Wait for a frame of the host, for so long at most."""
        if not self._frames:
            self._feed(self._terminal.read(seconds))
        return self._frames.popleft() if self._frames else None

    def _feed(self, data: bytes) -> None:
        *lines, rest = (self._line + data).split(b"\r")
        self._line = rest if len(rest) <= LONGEST_LINE else b""
        for line in lines:
            if line:
                self._obey(line.decode("latin-1"))

    def _obey(self, line: str) -> None:
        answer = b"\r"
        match line[0]:
            case "S" if line[1:] in _BIT_RATES and not self._open:
                self.kbit = _BIT_RATES[line[1:]]
            case "O" | "L" if not self._open:
                self._open = True
            case "C":
                self._open = False
            case "V":
                answer = b"V1013\r"
            case "t" | "T" | "r" | "R" if self._open and (frame := _parse(line)):
                self._frames.append(frame)
                answer = b"Z\r" if frame.extended else b"z\r"
            case _:
                answer = b"\a"
        self.write_raw(answer)

    def send(self, frame: Frame) -> None:
        """Send a frame to the host, when it has opened the channel."""
        if self._open and not frame.error:
            letter = "tTrR"[frame.extended + 2 * frame.remote]
            data = "" if frame.remote else frame.data.hex().upper()
            self.write_raw(f"{letter}{frame.id:0{8 if frame.extended else 3}X}{len(frame.data)}{data}\r".encode())

    def close(self) -> None:
        """Take the adapter away, as when a plug is pulled."""
        with suppress(OSError):
            os.unlink(self.path)
        self._terminal.close()


def _parse(line: str) -> Frame | None:
    """Read one frame of the slcan protocol; None when it is none."""
    digits = 8 if line[0] in "TR" else 3
    try:
        identifier, length = int(line[1 : 1 + digits], 16), int(line[1 + digits])
        remote = line[0] in "rR"
        data = b"\0" * length if remote else bytes.fromhex(line[2 + digits :])
    except (ValueError, IndexError):
        return None
    if length > 8 or (not remote and len(data) != length):
        return None
    return Frame(identifier, data, extended=digits == 8, remote=remote)
