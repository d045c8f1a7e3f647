"""Which channels a supply has, and whether their parameters are read for all of them in one request.

Not every firmware answers the request for all channels, and not for every parameter; some claim channels that refuse
everything. What is given up is tried again after a minute, because noise on a line looks the same.
"""

from __future__ import annotations

import logging
from collections import Counter

from devices.clock import DriverClock

log = logging.getLogger("labioc.caen")

RETRY = 60.0
"""Seconds after which what was given up is tried again."""

_REFUSALS = 2  # in a row of group reads that had worked, or by one channel, before they are given up
_WRONG_COUNTS = 2  # group answers of the wrong length in a row before groups are given up


class Channels:
    """What has been found out in this connection; ``name`` is that of the device, for the log."""

    def __init__(self, name: str, clock: DriverClock) -> None:
        self.count = 0  # as the unit says
        self._name = name
        self._clock = clock
        self.begin(0)

    def begin(self, count: int) -> None:
        """Begin anew: another connection, or a unit that has changed."""
        self.count = count
        self.present = set(range(count))  # as far as is known
        self.absent: dict[int, float] = {}  # channels that refuse everything, and the monotonic time of the last look
        self._refused: Counter[int] = Counter()  # by channel, in a row
        self._answering: set[int] = set()
        self._forget_groups()

    def _forget_groups(self) -> None:
        self.number: int | None = None  # of the request for all channels, when it is not the number of channels
        self._found: int | None = None  # values in the last answer of the wrong length
        self._refusals = 0
        self._grouped: set[str] = set()  # parameters that have been read for all channels at once
        self._wrong_counts: dict[str, int] = {}
        self._given_up: dict[str, float] = {}  # parameter, or "" for all of them, and the monotonic time of that

    # Single channels

    def asked(self, channel: int) -> bool:
        """Return whether a channel is to be asked now: one that refuses everything is tried once a minute."""
        return channel in self.present or (
            channel in self.absent and self._clock.monotonic() - self.absent[channel] >= RETRY
        )

    def answered(self, channel: int) -> None:
        """Note a good answer of a channel."""
        self._answering.add(channel)
        self._refused.pop(channel, None)
        if self.absent.pop(channel, None) is not None:
            self.present.add(channel)
            self._forget_groups()

    def refused_by(self, channel: int) -> None:
        """Note a refusal by one channel: it may be absent."""
        if channel in self._answering or not self._answering:
            return  # it is there, or the unit does not answer for any channel: it may be starting
        self._refused[channel] += 1
        if self._refused[channel] < _REFUSALS:
            return
        if channel not in self.absent:
            # as CHnn: messages that differ by a number alone are one in the log
            log.warning("%s: CH%02d of %d channels does not answer", self._name, channel, self.count)
        self.absent[channel] = self._clock.monotonic()
        self.present.discard(channel)
        # Try groups of those that do answer.
        self.number = self.count if self._found == self.size else self.size
        self._given_up.clear()
        self._wrong_counts.clear()

    # All channels at once

    @property
    def size(self) -> int:
        """How many channels answer, when all that do not are behind them."""
        count = self.count
        while count - 1 in self.absent:
            count -= 1
        return count

    @property
    def proven(self) -> bool:
        """Whether any group read has worked."""
        return bool(self._grouped)

    def allowed(self, parameter: str) -> bool:
        """Return whether a parameter is to be asked for all channels now."""
        # A group of one would be the request for the second channel, where the unit has more than answer.
        if self.count != 1 and self.size <= 1:
            return False
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

    def _give_up(self, parameter: str) -> None:
        single = self._grouped and (parameter not in self._grouped or parameter in self._wrong_counts)
        key = parameter if single else ""
        if key not in self._given_up:
            what = (
                f"{parameter} is not answered for all channels at once" if single else f"no group reads ({parameter})"
            )
            log.warning("%s: %s, reading channel by channel", self._name, what)
        self._given_up[key] = self._clock.monotonic()
