"""Back door of the simulated CAEN supply: what the commands of its text port do."""

from __future__ import annotations

import math

from devices.caen.simulator.channel import SimulatedOutput
from devices.caen.simulator.server import SimulatedSupply
from devices.simulation.backdoor import Action, TextDoor, finite, is_on, switch

SWITCHES = ("silent", "garbage", "reset_mid_reply", "split", "merge", "duplicate", "echo", "telnet", "mute_sets")
"""Faults of the wire that are on or off."""


class BackDoor(TextDoor):
    """Listens on a port of its own; start it after the supply, stop it before."""

    def __init__(self, supply: SimulatedSupply, port: int = 0) -> None:
        self._supply = supply
        commands: dict[str, tuple[str, Action]] = {
            "show": ("", self._show),
            "load": ("CHANNEL MOHM", self._load),
            "trip": ("CHANNEL", self._trip),
            "kill": ("CHANNEL on|off", self._kill),
            "collapse": ("CHANNEL on|off", self._collapse),
            "drift": ("CHANNEL VOLTS", self._drift),
            "force": ("CHANNEL STATUSBITS", self._force),
            "corrupt": ("CHANNEL STATUSWORD", self._corrupt),
            "polarity": ("CHANNEL +|-", self._polarity),
            "interlock": ("on|off", self._interlock),
            "local": ("on|off", self._local),
            "groups": ("on|off", self._groups),
            "unknown": ("PARAMETER on|off", self._unknown),
            "power": ("", self._power),
            "delay": ("SECONDS", self._delay),
            "drop": ("EVERY", self._drop),
            "disconnect": ("", self._disconnect),
            "listen": ("on|off", self._listen),
            **{name: ("on|off", switch(supply.faults, name)) for name in SWITCHES},
        }
        super().__init__(port, commands)

    def _channel(self, word: str) -> SimulatedOutput:
        return self._supply.model.channels[self._number(word)]

    def _number(self, word: str) -> int:
        count = len(self._supply.model.channels)
        if not word.isdecimal() or int(word) >= count:
            raise ValueError(f"no channel {word}, there are 0 to {count - 1}")
        return int(word)

    def _show(self) -> str:
        self._supply.advance()
        return "; ".join(
            f"CH{number} {channel.volts:.1f} V {channel.microamps:.2f} uA STAT {channel.status:05d}"
            for number, channel in enumerate(self._supply.model.channels)
        )

    def _load(self, channel: str, mohm: str) -> str:
        value = float(mohm)
        if math.isnan(value) or value < 0:
            raise ValueError(f"{mohm} is not a load in Mohm (0 is a short, inf no load)")
        self._channel(channel).load = value
        return "ok"

    def _trip(self, channel: str) -> str:
        self._supply.model.trip(self._number(channel))
        return "ok"

    def _kill(self, channel: str, state: str) -> str:
        self._supply.model.kill(self._number(channel), is_on(state))
        return "ok"

    def _collapse(self, channel: str, state: str) -> str:
        self._channel(channel).collapsed = is_on(state)
        return "ok"

    def _drift(self, channel: str, volts: str) -> str:
        self._channel(channel).error_volts = finite(volts)
        return "ok"

    def _force(self, channel: str, bits: str) -> str:
        self._channel(channel).forced = _status_word(bits)
        return "ok"

    def _corrupt(self, channel: str, word: str) -> str:
        self._supply.model.corrupt_status(self._number(channel), _status_word(word))
        return "ok"

    def _polarity(self, channel: str, sign: str) -> str:
        if sign not in ("+", "-"):
            raise ValueError(f"{sign} is neither + nor -")
        self._channel(channel).polarity = sign
        return "ok"

    def _interlock(self, state: str) -> str:
        self._supply.model.interlock(is_on(state))
        return "ok"

    def _local(self, state: str) -> str:
        self._supply.model.local = is_on(state)
        return "ok"

    def _groups(self, state: str) -> str:
        self._supply.model.refuse_groups = not is_on(state)
        return "ok"

    def _unknown(self, parameter: str, state: str) -> str:
        if is_on(state):
            self._supply.model.unknown.add(parameter)
        else:
            self._supply.model.unknown.discard(parameter)
        return "ok"

    def _power(self) -> str:
        self._supply.model.power_cycle()
        return "ok"

    def _delay(self, seconds: str) -> str:
        value = finite(seconds)
        if value < 0:
            raise ValueError("a delay is not negative")
        self._supply.faults.delay = value
        return "ok"

    def _drop(self, every: str) -> str:
        if not every.isdecimal():
            raise ValueError(f"{every} is not a count (0 is off)")
        self._supply.faults.drop_every = int(every)
        return "ok"

    async def _disconnect(self) -> str:
        await self._supply.drop_connections()
        return "ok"

    async def _listen(self, state: str) -> str:
        if is_on(state):
            await self._supply.accept_connections()
        else:
            await self._supply.refuse_connections()
        return "ok"


def _status_word(word: str) -> int:
    if not word.isdecimal() or int(word) > 0xFFFF:
        raise ValueError(f"{word} is not a status word (0 to 65535)")
    return int(word)
