"""Back door of simulated Eurotherm 3200 instruments: what the commands of its text port do."""

from __future__ import annotations

import math

from devices.eurotherm.registers import REGISTERS
from devices.eurotherm.simulator.model import BreakReading, EurothermModel
from devices.eurotherm.simulator.server import SimulatedFurnaces
from devices.simulation.backdoor import Action, TextDoor, finite, is_on, switch

SWITCHES = ("silent", "truncated", "wrong_unit", "wrong_function", "wrong_count", "echo", "noise", "mute_writes")
"""Faults of the wire that are on or off."""

SHARES = ("crc", "lost")
"""Faults of the wire in percent."""


class BackDoor(TextDoor):
    """Listens on a port of its own; start it after the instruments, stop it before."""

    def __init__(self, furnaces: SimulatedFurnaces, port: int = 0) -> None:
        self._furnaces = furnaces
        commands: dict[str, tuple[str, Action]] = {
            "show": ("", self._show),
            "get": ("UNIT NAME", self._get),
            "set": ("UNIT NAME VALUE", self._set),
            "mains": ("UNIT on|off", self._mains),
            "sensor": ("UNIT ok|rail|frozen|nan", self._sensor),
            "heater": ("UNIT on|off", self._heater),
            "drift": ("UNIT CELSIUS", self._drift),
            "temperature": ("UNIT CELSIUS", self._temperature),
            "floats": ("UNIT on|off", self._floats),
            "acknowledge": ("UNIT", self._acknowledge),
            "pass": ("SECONDS", self._pass),
            "delay": ("SECONDS", self._delay),
            "exception": ("CODE", self._exception),
            "plug": ("on|off|renumber", self._plug),
            **{name: ("on|off", switch(furnaces.faults, name)) for name in SWITCHES},
            **{name: ("PERCENT", self._share(name)) for name in SHARES},
        }
        super().__init__(port, commands)

    def _model(self, unit: str) -> EurothermModel:
        if not unit.isdecimal() or int(unit) not in self._furnaces.slaves:
            raise ValueError(f"no unit {unit}, there are {', '.join(map(str, self._furnaces.slaves))}")
        return self._furnaces.slaves[int(unit)].model

    def _show(self) -> str:
        self._furnaces.advance()
        return "; ".join(
            f"unit {unit} {slave.model.memory['PV.IN']:.2f} C, setpoint {slave.model.memory['WKG.SP']:.2f} C, "
            f"output {slave.model.memory['WRK.OP']:.1f} %, status {int(slave.model.memory['StAt']):04X}"
            for unit, slave in self._furnaces.slaves.items()
        )

    def _get(self, unit: str, name: str) -> str:
        return f"{self._model(unit).memory[_register(name)]:g}"

    def _set(self, unit: str, name: str, value: str) -> str:
        model = self._model(unit)
        model.memory[_register(name)] = finite(value)
        model.settle()
        return "ok"

    def _mains(self, unit: str, state: str) -> str:
        self._furnaces.advance()
        model = self._model(unit)
        if is_on(state):
            model.mains_on()
        else:
            model.mains_off()
        return "ok"

    def _sensor(self, unit: str, state: str) -> str:
        model = self._model(unit)
        model.sensor_broken = state != "ok"
        if model.sensor_broken:
            model.break_reading = BreakReading(state)
        model.settle()
        return "ok"

    def _heater(self, unit: str, state: str) -> str:
        self._model(unit).furnace.heater_broken = not is_on(state)
        return "ok"

    def _drift(self, unit: str, celsius: str) -> str:
        self._model(unit).offset = finite(celsius)
        return "ok"

    def _temperature(self, unit: str, celsius: str) -> str:
        model, value = self._model(unit), finite(celsius)
        model.furnace.temperature = model.furnace.measured = value
        model.settle()
        return "ok"

    def _floats(self, unit: str, state: str) -> str:
        self._model(unit)
        self._furnaces.slaves[int(unit)].float_area = is_on(state)
        return "ok"

    def _acknowledge(self, unit: str) -> str:
        model = self._model(unit)
        model.acknowledge()
        model.settle()
        return "ok"

    def _pass(self, seconds: str) -> str:
        for slave in self._furnaces.slaves.values():
            slave.model.step(_duration(seconds))
        return "ok"

    def _delay(self, seconds: str) -> str:
        self._furnaces.faults.delay = _duration(seconds)
        return "ok"

    def _exception(self, code: str) -> str:
        if not code.isdecimal() or int(code) > 0xFF:
            raise ValueError(f"{code} is not a code (0 to 255, 0 is off)")
        self._furnaces.faults.exception = int(code)
        return "ok"

    async def _plug(self, state: str) -> str:
        if state != "renumber" and not is_on(state):
            await self._furnaces.unplug()
        else:
            await self._furnaces.plug_in()
        return "ok"

    def _share(self, name: str) -> Action:
        def action(percent: str) -> str:
            value = finite(percent)
            if not 0 <= value <= 100:
                raise ValueError(f"{percent} is not a share in percent")
            setattr(self._furnaces.faults, name, value)
            return "ok"

        return action


def _register(name: str) -> str:
    if name not in REGISTERS:
        raise ValueError(f"no register {name}, there are {', '.join(REGISTERS)}")
    return name


def _duration(word: str) -> float:
    value = float(word)
    if not 0 <= value < math.inf:
        raise ValueError(f"{word} is not a duration in seconds")
    return value
