"""Whether the parameters of a supply are read for all channels in one request.

Not every firmware answers the request for all channels, and not for every parameter. What is given up is tried again
after a minute, because noise on a line looks the same.
"""

from __future__ import annotations

import logging

from devices.clock import DriverClock

log = logging.getLogger("labioc.caen")

RETRY = 60.0
"""Seconds after which what was given up is tried again."""

_REFUSALS = 2  # in a row of group reads that had worked, before they are given up
_WRONG_COUNTS = 2  # group answers of the wrong length in a row before groups are given up


class Groups:
    """What has been found out about group reads in this connection; ``name`` is the device's, for the log."""

    def __init__(self, name: str, clock: DriverClock) -> None:
        self._name = name
        self._clock = clock
        self.forget()

    def forget(self) -> None:
        """Begin anew: another connection, or a unit that has changed."""
        self.number: int | None = None  # of the request for all channels, when it is not the number of channels
        self._found: int | None = None  # values in the last answer of the wrong length
        self._refusals = 0
        self._grouped: set[str] = set()  # parameters that have been read for all channels at once
        self._wrong_counts: dict[str, int] = {}
        self._given_up: dict[str, float] = {}  # parameter, or "" for all of them, and the monotonic time of that

    @property
    def proven(self) -> bool:
        """Whether any group read has worked."""
        return bool(self._grouped)

    def allowed(self, parameter: str) -> bool:
        """Return whether a parameter is to be asked for all channels now."""
        now = self._clock.monotonic()
        return all(now - self._given_up.get(key, now - RETRY) >= RETRY for key in ("", parameter))

    def worked(self, parameter: str) -> None:
        """Note a good answer."""
        self._grouped.add(parameter)
        self._wrong_counts.pop(parameter, None)
        self._refusals = 0
        self._given_up.pop("", None)
        self._given_up.pop(parameter, None)

    def refused(self, parameter: str) -> None:
        """Note that the unit refused a group and answered for single channels."""
        self._refusals += 1
        if parameter not in self._grouped or self._refusals >= _REFUSALS:
            self._give_up(parameter)

    def wrong_count(self, parameter: str, found: int) -> bool:
        """Note an answer of the wrong length; return whether group reads are given up for it."""
        self._found = found
        self._wrong_counts[parameter] = self._wrong_counts.get(parameter, 0) + 1
        # As long as no group answer was ever good, the unit as a whole is suspected, else this parameter.
        seen = self._wrong_counts[parameter] if self._grouped else sum(self._wrong_counts.values())
        if seen < _WRONG_COUNTS:
            return False
        self._give_up(parameter)
        return True

    def shortened(self, channels: int, present: int) -> None:
        """Note that of ``channels`` only the first ``present`` do answer: try groups of these."""
        self.number = channels if self._found == present else present
        self._given_up.clear()
        self._wrong_counts.clear()

    def _give_up(self, parameter: str) -> None:
        single = self._grouped and (parameter not in self._grouped or parameter in self._wrong_counts)
        key = parameter if single else ""
        if key not in self._given_up:
            what = (
                f"{parameter} is not answered for all channels at once" if single else f"no group reads ({parameter})"
            )
            log.warning("%s: %s, reading channel by channel", self._name, what)
        self._given_up[key] = self._clock.monotonic()
