"""How a CAEN supply is simulated, for a device of the site file and by ``labioc simulate``, and its back door."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from functools import partial

from devices.caen.driver import DEFAULT_CHANNELS
from devices.caen.protocol import Profile
from devices.caen.simulator.channel import SimulatedOutput
from devices.caen.simulator.model import CaenModel
from devices.caen.simulator.server import SimulatedSupply
from devices.model import DeviceSettings
from devices.simulation.backdoor import (
    Action,
    TextDoor,
    channel_number,
    finite,
    include,
    is_on,
    load_mohm,
    positive,
    setting,
    switch,
    whole,
)
from devices.simulation.simulation import NOISE_MICROAMPS, NOISE_VOLTS, Simulation

SWITCHES = ("silent", "garbage", "reset_mid_reply", "split", "merge", "duplicate", "echo", "telnet", "mute_sets")
"""Faults of the wire that are on or off."""


class BackDoor(TextDoor):
    """Listens on a port of its own; start it after the supply, stop it before."""

    def __init__(self, supply: SimulatedSupply, port: int = 0) -> None:
        self._supply, self._model = supply, supply.model
        faults, model = supply.faults, supply.model
        status_word = partial(whole, 0xFFFF, "status word")
        commands: dict[str, tuple[str, Action]] = {
            "show": ("", self._show),
            "load": ("CHANNEL MOHM", setting(self._channel, "load", load_mohm)),
            "trip": ("CHANNEL", lambda channel: model.trip(self._number(channel))),
            "kill": ("CHANNEL on|off", lambda channel, state: model.kill(self._number(channel), is_on(state))),
            "collapse": ("CHANNEL on|off", setting(self._channel, "collapsed", is_on)),
            "drift": ("CHANNEL VOLTS", setting(self._channel, "error_volts", finite)),
            "force": ("CHANNEL STATUSBITS", setting(self._channel, "forced", status_word)),
            "corrupt": ("CHANNEL STATUSWORD", setting(self._channel, "corrupt", status_word)),
            "polarity": ("CHANNEL +|-", setting(self._channel, "polarity", _sign)),
            "interlock": ("on|off", lambda state: model.interlock(is_on(state))),
            "local": ("on|off", switch(model, "local")),
            "groups": ("on|off", setting(lambda: model, "refuse_groups", lambda state: not is_on(state))),
            "unknown": ("PARAMETER on|off", partial(include, model.unknown)),
            "power": ("", model.power_cycle),
            "delay": ("SECONDS", setting(lambda: faults, "delay", positive)),
            "drop": ("EVERY", setting(lambda: faults, "drop_every", partial(whole, 0xFFFF, "count"))),
            "disconnect": ("", supply.drop_connections),
            "listen": ("on|off", self._listen),
            **{name: ("on|off", switch(faults, name)) for name in SWITCHES},
        }
        super().__init__(port, commands)

    def _channel(self, word: str) -> SimulatedOutput:
        return self._model.channels[self._number(word)]

    def _number(self, word: str) -> int:
        return channel_number(len(self._model.channels), word)

    def _show(self) -> str:
        self._supply.advance()
        return "; ".join(
            f"CH{number} {channel.volts:.1f} V {channel.microamps:.2f} uA STAT {channel.status:05d}"
            for number, channel in enumerate(self._model.channels)
        )

    async def _listen(self, state: str) -> None:
        await (self._supply.accept_connections() if is_on(state) else self._supply.refuse_connections())


def _sign(word: str) -> str:
    if word not in ("+", "-"):
        raise ValueError(f"{word} is neither + nor -")
    return word


def _make(settings: DeviceSettings, port: int) -> SimulatedSupply:
    """Return a DT5533E, or a unit of profile B where the site file gives it a board above 0: only those have one."""
    board = int(settings.options.get("board", 0))
    model = CaenModel(
        Profile.B if board else Profile.A,
        channels=settings.channels or DEFAULT_CHANNELS,
        serial=str(settings.options.get("serial", "00123")),
        board=board,
    )
    model.noise_volts, model.noise_microamps = NOISE_VOLTS, NOISE_MICROAMPS
    return SimulatedSupply(model, port=port)


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--channels", type=int, choices=range(1, 33), default=4, metavar="N", help="1 to 32")
    parser.add_argument(
        "--profile", choices=["A", "B"], default="A", help="B: requests carry a module address ($BD:00,...)"
    )
    parser.add_argument("--serial", action="store_true", help="on a pseudo terminal as well")


def _from_arguments(args: Namespace) -> SimulatedSupply:
    return SimulatedSupply(CaenModel(Profile[args.profile], channels=args.channels), port=args.port)


async def _announce(supply: SimulatedSupply, args: Namespace) -> list[str]:
    lines = [f"{supply.model.name} with {len(supply.model.channels)} channels at {supply.address}"]
    if args.serial:
        lines.append(f"and at serial://{await supply.plug_in_serial()}?baudrate=9600")
    return lines


SIMULATION = Simulation(
    make=_make,
    add_arguments=_add_arguments,
    from_arguments=_from_arguments,
    announce=_announce,
    back_door=BackDoor,
    example="trip 0",
    effect="{device}:CH00:TRIP turns MAJOR and stays so until {device}:CH00:TRIP:ACK:CMD is written",
    listens=True,
)
