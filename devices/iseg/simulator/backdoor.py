"""Back door of simulated iseg modules on a CAN segment: what the commands of its text port do."""

from __future__ import annotations

import math
from collections.abc import Callable

from devices.iseg.simulator.bus import SimulatedIsegBus
from devices.iseg.simulator.channel import Channel
from devices.iseg.simulator.module import SimulatedIsegModule
from devices.simulation.backdoor import Action, TextDoor, finite, is_on

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
            "load": ("MODULE CHANNEL MOHM", self._load),
            "trip": ("MODULE CHANNEL", self._trip),
            "inhibit": ("MODULE CHANNEL on|off", self._inhibit),
            "drift": ("MODULE CHANNEL VOLTS", self._drift),
            "power": ("MODULE", self._power),
            "pull": ("MODULE", self._pull),
            "insert": ("MODULE", self._insert),
            "unknown": ("MODULE DATA_ID on|off", self._unknown),
            "silent": ("MODULE on|off", self._silent),
            "delay": ("SECONDS", self._fault("delay", 1.0)),
            "flood": ("PER_SECOND", self._fault("flood", 1.0)),
            "bus": ("on|off", self._bus_state),
            "plug": ("on|off", self._plug),
            "crate": ("on|off", self._crate),
            "raw": ("HEX", self._raw),
            **{name: ("MODULE on|off", self._module_setter(attribute, is_on)) for name, attribute in SWITCHES.items()},
            **{name: ("MODULE NUMBER", self._module_setter(attribute, finite)) for name, attribute in NUMBERS.items()},
            **{name: ("PERCENT", self._fault(name, 0.01)) for name in SHARES},
        }
        super().__init__(port, {name: (usage, self._locked(action)) for name, (usage, action) in commands.items()})

    def _locked(self, action: Action) -> Action:
        """Let no frame come in between."""

        def locked(*words: str) -> str:
            with self._bus.lock:
                answer = action(*words)
                assert isinstance(answer, str)
                return answer

        return locked

    def _module(self, word: str) -> SimulatedIsegModule:
        modules = self._bus.modules
        if word == "any" and modules:
            return modules[min(modules)]
        if not word.isdecimal() or int(word) not in modules:
            raise ValueError(f"no module {word}, there are {', '.join(map(str, modules)) or 'none'}")
        return modules[int(word)]

    def _channel(self, module: str, channel: str) -> Channel:
        channels = self._module(module).channels
        if not channel.isdecimal() or int(channel) >= len(channels):
            raise ValueError(f"no channel {channel}, there are 0 to {len(channels) - 1}")
        return channels[int(channel)]

    def _show(self, module: str) -> str:
        self._bus.advance()
        return "; ".join(
            f"CH{n:02d} {channel.volts:.1f} V {channel.amps * 1e6:.3f} uA status {channel.status():04X}"
            for n, channel in enumerate(self._module(module).channels)
        )

    def _load(self, module: str, channel: str, mohm: str) -> str:
        value = float(mohm)
        if math.isnan(value) or value < 0:
            raise ValueError(f"{mohm} is not a load in Mohm (0 is a short, inf no load)")
        self._channel(module, channel).load = value
        return "ok"

    def _trip(self, module: str, channel: str) -> str:
        self._channel(module, channel).trip()
        return "ok"

    def _inhibit(self, module: str, channel: str, state: str) -> str:
        self._channel(module, channel).inhibited = is_on(state)
        return "ok"

    def _drift(self, module: str, channel: str, volts: str) -> str:
        self._channel(module, channel).error_volts = finite(volts)
        return "ok"

    def _power(self, module: str) -> str:
        self._module(module).power_cycle()
        return "ok"

    def _pull(self, module: str) -> str:
        pulled = self._module(module)
        self._bus.remove(pulled.address)
        self._pulled[pulled.address] = pulled
        return "ok"

    def _insert(self, module: str) -> str:
        if not module.isdecimal() or int(module) not in self._pulled:
            raise ValueError(f"module {module} has not been pulled out")
        inserted = self._pulled.pop(int(module))
        inserted.power_cycle()
        self._bus.add(inserted)
        return "ok"

    def _unknown(self, module: str, data_id: str, state: str) -> str:
        number = int(data_id, 16)
        unknown = self._module(module).unknown
        if is_on(state):
            unknown.add(number)
        else:
            unknown.discard(number)
        return "ok"

    def _silent(self, module: str, state: str) -> str:
        address = self._module(module).address
        if is_on(state):
            self._bus.faults.silent.add(address)
        else:
            self._bus.faults.silent.discard(address)
        return "ok"

    def _bus_state(self, state: str) -> str:
        self._bus.bus_off(not is_on(state))
        return "ok"

    def _plug(self, state: str) -> str:
        if is_on(state):
            self._bus.plug_in()
        else:
            self._bus.unplug()
        return "ok"

    def _crate(self, state: str) -> str:
        self._bus.crate.power = is_on(state)
        return "ok"

    def _raw(self, data: str) -> str:
        self._bus.send_raw(bytes.fromhex(data))
        return "ok"

    def _fault(self, name: str, unit: float) -> Action:
        def set_fault(word: str) -> str:
            value = finite(word) * unit
            if value < 0:
                raise ValueError(f"{word} is negative")
            setattr(self._bus.faults, name, value)
            return "ok"

        return set_fault

    def _module_setter(self, attribute: str, convert: Callable[[str], float]) -> Action:
        def set_attribute(module: str, word: str) -> str:
            setattr(self._module(module), attribute, convert(word))
            return "ok"

        return set_attribute
