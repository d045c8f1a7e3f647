"""What this process reports to systemd: ready, reloading, stopping, still working (sd_notify(3), Type=notify).

Without systemd, or in a service of another type, nothing is sent.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress

log = logging.getLogger("labioc")


class ServiceManager:
    """The socket of the service manager, from the variables of the environment that it sets."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self.watchdog_seconds = _watchdog(environment) if self._address else 0.0
        """Seconds within which the process has to report that it works; 0 without a watchdog."""

    def ready(self, status: str) -> None:
        """Report that the service is up, also after ``reloading``."""
        self._send(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """Report that settings are being read anew."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """Report the end."""
        self._send("STOPPING=1")

    def works(self) -> None:
        """Keep the watchdog from restarting the service."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """Show a line in ``systemctl status``."""
        self._send(f"STATUS={text}")

    def _send(self, state: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.settimeout(0.2)  # a manager that is busy must not stop the loop for long
            sock.sendto(state.encode(), address)


def _watchdog(environment: Mapping[str, str]) -> float:
    """Return the period of the watchdog in seconds (sd_watchdog_enabled(3)); 0 when it is not for this process."""
    try:
        seconds = int(environment.get("WATCHDOG_USEC", "0")) / 1e6
        wanted = int(environment.get("WATCHDOG_PID", os.getpid()))
    except ValueError:
        return 0.0
    return seconds if wanted == os.getpid() else 0.0
