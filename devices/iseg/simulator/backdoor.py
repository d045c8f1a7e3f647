"""Back door of simulated iseg modules on a CAN segment: what the commands of its text port do."""

from __future__ import annotations

from devices.iseg.simulator.bus import SimulatedIsegBus
from devices.iseg.simulator.channel import Channel
from devices.iseg.simulator.module import SimulatedIsegModule
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
)

SHARES = ("lose", "duplicate", "reorder", "garbage")
"""Faults of the segment in percent of the frames."""

SWITCHES = {"loop": "safety_loop", "service": "service", "dcp": "dcp"}
"""What of a module is on or off, by its attribute."""

NUMBERS = {"temperature": "temperature", "supply24": "supply24", "supply5": "supply5", "vmax": "volts_max"}
"""What of a module is a number, by its attribute."""


class BackDoor(TextDoor):
    """Listens on a port of its own; start it after the segment, stop it before.

    The module ``any`` is the one with the lowest address.
    """

    def __init__(self, bus: SimulatedIsegBus, port: int = 0) -> None:
        self._bus = bus
        self._pulled: dict[int, SimulatedIsegModule] = {}
        commands: dict[str, tuple[str, Action]] = {
            "show": ("MODULE", self._show),
            "load": ("MODULE CHANNEL MOHM", setting(self._channel, "load", load_mohm)),
            "trip": ("MODULE CHANNEL", lambda *words: self._channel(*words).trip()),
            "inhibit": ("MODULE CHANNEL on|off", setting(self._channel, "inhibited", is_on)),
            "drift": ("MODULE CHANNEL VOLTS", setting(self._channel, "error_volts", finite)),
            "power": ("MODULE", lambda module: self._module(module).power_cycle()),
            "pull": ("MODULE", self._pull),
            "insert": ("MODULE", self._insert),
            "unknown": ("MODULE DATA_ID on|off", self._unknown),
            "silent": ("MODULE on|off", self._silent),
            "delay": ("SECONDS", setting(lambda: bus.faults, "delay", positive)),
            "flood": ("PER_SECOND", setting(lambda: bus.faults, "flood", positive)),
            "bus": ("on|off", lambda state: bus.bus_off(not is_on(state))),
            "plug": ("on|off", lambda state: bus.plug_in() if is_on(state) else bus.unplug()),
            "crate": ("on|off", switch(bus.crate, "power")),
            "raw": ("HEX", lambda data: bus.send_raw(bytes.fromhex(data))),
            **{name: ("MODULE on|off", setting(self._module, one, is_on)) for name, one in SWITCHES.items()},
            **{name: ("MODULE NUMBER", setting(self._module, one, finite)) for name, one in NUMBERS.items()},
            **{name: ("PERCENT", setting(lambda: bus.faults, name, _percent)) for name in SHARES},
        }
        super().__init__(port, commands)

    async def execute(self, line: str) -> str:
        """Run one command, none of which waits, without a frame that comes in between."""
        with self._bus.lock:
            return await super().execute(line)

    def _module(self, word: str) -> SimulatedIsegModule:
        modules = self._bus.modules
        if word == "any" and modules:
            return modules[min(modules)]
        if not word.isdecimal() or int(word) not in modules:
            raise ValueError(f"no module {word}, there are {', '.join(map(str, modules)) or 'none'}")
        return modules[int(word)]

    def _channel(self, module: str, channel: str) -> Channel:
        channels = self._module(module).channels
        return channels[channel_number(len(channels), channel)]

    def _show(self, module: str) -> str:
        self._bus.advance()
        return "; ".join(
            f"CH{n:02d} {channel.volts:.1f} V {channel.amps * 1e6:.3f} uA status {channel.status():04X}"
            for n, channel in enumerate(self._module(module).channels)
        )

    def _pull(self, module: str) -> None:
        pulled = self._module(module)
        self._bus.remove(pulled.address)
        self._pulled[pulled.address] = pulled

    def _insert(self, module: str) -> None:
        if not module.isdecimal() or int(module) not in self._pulled:
            raise ValueError(f"module {module} has not been pulled out")
        inserted = self._pulled.pop(int(module))
        inserted.power_cycle()
        self._bus.add(inserted)

    def _unknown(self, module: str, data_id: str, state: str) -> None:
        include(self._module(module).unknown, int(data_id, 16), state)

    def _silent(self, module: str, state: str) -> None:
        include(self._bus.faults.silent, self._module(module).address, state)


def _percent(word: str) -> float:
    return positive(word) * 0.01
