"""Back door of the simulated CAEN supply: what the commands of its text port do."""

from __future__ import annotations

from devices.caen.simulator.channel import SimulatedOutput
from devices.caen.simulator.server import SimulatedSupply
from devices.simulation.backdoor import Action, TextDoor, finite, is_on, load_mohm, setting, switch

SWITCHES = ("silent", "garbage", "reset_mid_reply", "split", "merge", "duplicate", "echo", "telnet", "mute_sets")
"""Faults of the wire that are on or off."""


class BackDoor(TextDoor):
    """Listens on a port of its own; start it after the supply, stop it before."""

    def __init__(self, supply: SimulatedSupply, port: int = 0) -> None:
        self._supply, self._model = supply, supply.model
        faults, model = supply.faults, supply.model
        commands: dict[str, tuple[str, Action]] = {
            "show": ("", self._show),
            "load": ("CHANNEL MOHM", setting(self._channel, "load", load_mohm)),
            "trip": ("CHANNEL", lambda channel: model.trip(self._number(channel))),
            "kill": ("CHANNEL on|off", lambda channel, state: model.kill(self._number(channel), is_on(state))),
            "collapse": ("CHANNEL on|off", setting(self._channel, "collapsed", is_on)),
            "drift": ("CHANNEL VOLTS", setting(self._channel, "error_volts", finite)),
            "force": ("CHANNEL STATUSBITS", setting(self._channel, "forced", _status_word)),
            "corrupt": ("CHANNEL STATUSWORD", self._corrupt),
            "polarity": ("CHANNEL +|-", setting(self._channel, "polarity", _sign)),
            "interlock": ("on|off", lambda state: model.interlock(is_on(state))),
            "local": ("on|off", switch(model, "local")),
            "groups": ("on|off", setting(lambda: model, "refuse_groups", lambda state: not is_on(state))),
            "unknown": ("PARAMETER on|off", self._unknown),
            "power": ("", model.power_cycle),
            "delay": ("SECONDS", setting(lambda: faults, "delay", _delay)),
            "drop": ("EVERY", setting(lambda: faults, "drop_every", _count)),
            "disconnect": ("", supply.drop_connections),
            "listen": ("on|off", self._listen),
            **{name: ("on|off", switch(faults, name)) for name in SWITCHES},
        }
        super().__init__(port, commands)

    def _channel(self, word: str) -> SimulatedOutput:
        return self._model.channels[self._number(word)]

    def _number(self, word: str) -> int:
        count = len(self._model.channels)
        if not word.isdecimal() or int(word) >= count:
            raise ValueError(f"no channel {word}, there are 0 to {count - 1}")
        return int(word)

    def _show(self) -> str:
        self._supply.advance()
        return "; ".join(
            f"CH{number} {channel.volts:.1f} V {channel.microamps:.2f} uA STAT {channel.status:05d}"
            for number, channel in enumerate(self._model.channels)
        )

    def _corrupt(self, channel: str, word: str) -> None:
        self._model.corrupt_status(self._number(channel), _status_word(word))

    def _unknown(self, parameter: str, state: str) -> None:
        change = self._model.unknown.add if is_on(state) else self._model.unknown.discard
        change(parameter)

    async def _listen(self, state: str) -> None:
        if is_on(state):
            await self._supply.accept_connections()
        else:
            await self._supply.refuse_connections()


def _sign(word: str) -> str:
    if word not in ("+", "-"):
        raise ValueError(f"{word} is neither + nor -")
    return word


def _delay(word: str) -> float:
    value = finite(word)
    if value < 0:
        raise ValueError("a delay is not negative")
    return value


def _count(word: str) -> int:
    if not word.isdecimal():
        raise ValueError(f"{word} is not a count (0 is off)")
    return int(word)


def _status_word(word: str) -> int:
    if not word.isdecimal() or int(word) > 0xFFFF:
        raise ValueError(f"{word} is not a status word (0 to 65535)")
    return int(word)
