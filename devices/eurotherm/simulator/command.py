"""The simulator to its users: for a device of the site file, ``labioc simulate eurotherm-3200``, and its back door."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from functools import partial

from devices.eurotherm.registers import REGISTERS
from devices.eurotherm.simulator.model import BreakReading, EurothermModel
from devices.eurotherm.simulator.server import SimulatedFurnaces
from devices.eurotherm.simulator.slave import Slave
from devices.links.modbus import UNITS
from devices.links.modbus_serial import BAUDRATES
from devices.model import DeviceSettings
from devices.simulation.backdoor import Action, TextDoor, finite, is_on, positive, setting, whole
from devices.simulation.simulation import Simulation

SWITCHES = ("silent", "truncated", "wrong_unit", "wrong_function", "wrong_count", "echo", "noise", "mute_writes")
"""Faults of the wire that are on or off."""

SHARES = ("crc", "lost")
"""Faults of the wire in percent."""


class BackDoor(TextDoor):
    """Listens on a port of its own; start it after the instruments, stop it before."""

    def __init__(self, furnaces: SimulatedFurnaces, port: int = 0) -> None:
        self._furnaces = furnaces

        def fault(name: str, convert: Callable[[str], object]) -> Action:
            return setting(lambda: furnaces.faults, name, convert)

        commands: dict[str, tuple[str, Action]] = {
            "show": ("", self._show),
            "get": ("UNIT NAME", self._get),
            "set": ("UNIT NAME VALUE", self._set),
            "mains": ("UNIT on|off", self._mains),
            "sensor": ("UNIT ok|rail|frozen|nan", self._sensor),
            "heater": (
                "UNIT on|off",
                setting(lambda unit: self._model(unit).furnace, "heater_broken", lambda word: not is_on(word)),
            ),
            "drift": ("UNIT CELSIUS", setting(self._model, "offset", finite)),
            "temperature": ("UNIT CELSIUS", self._temperature),
            "floats": ("UNIT on|off", setting(self._slave, "float_area", is_on)),
            "acknowledge": ("UNIT", self._acknowledge),
            "pass": ("SECONDS", self._pass),
            "delay": ("SECONDS", fault("delay", positive)),
            "exception": ("CODE", fault("exception", partial(whole, 0xFF, "code"))),
            "plug": ("on|off|renumber", self._plug),
            **{name: ("on|off", fault(name, is_on)) for name in SWITCHES},
            **{name: ("PERCENT", fault(name, _share)) for name in SHARES},
        }
        super().__init__(port, commands)

    def _slave(self, unit: str) -> Slave:
        if not unit.isdecimal() or int(unit) not in self._furnaces.slaves:
            raise ValueError(f"no unit {unit}, there are {', '.join(map(str, self._furnaces.slaves))}")
        return self._furnaces.slaves[int(unit)]

    def _model(self, unit: str) -> EurothermModel:
        return self._slave(unit).model

    def _show(self) -> str:
        self._furnaces.advance()
        return "; ".join(
            f"unit {unit} {slave.model.memory['PV.IN']:.2f} C, setpoint {slave.model.memory['WKG.SP']:.2f} C, "
            f"output {slave.model.memory['WRK.OP']:.1f} %, status {int(slave.model.memory['StAt']):04X}"
            for unit, slave in self._furnaces.slaves.items()
        )

    def _get(self, unit: str, name: str) -> str:
        return f"{self._model(unit).memory[_register(name)]:g}"

    def _set(self, unit: str, name: str, value: str) -> None:
        model = self._model(unit)
        model.memory[_register(name)] = finite(value)
        model.settle()

    def _mains(self, unit: str, state: str) -> None:
        self._furnaces.advance()
        model = self._model(unit)
        if is_on(state):
            model.mains_on()
        else:
            model.mains_off()

    def _sensor(self, unit: str, state: str) -> None:
        model = self._model(unit)
        model.sensor_broken = state != "ok"
        if model.sensor_broken:
            model.break_reading = BreakReading(state)
        model.settle()

    def _temperature(self, unit: str, celsius: str) -> None:
        model, value = self._model(unit), finite(celsius)
        model.furnace.temperature = model.furnace.measured = value
        model.settle()

    def _acknowledge(self, unit: str) -> None:
        model = self._model(unit)
        model.acknowledge()
        model.settle()

    def _pass(self, seconds: str) -> None:
        for slave in self._furnaces.slaves.values():
            slave.model.step(positive(seconds))

    async def _plug(self, state: str) -> None:
        if state != "renumber" and not is_on(state):
            await self._furnaces.unplug()
        else:
            await self._furnaces.plug_in()


def _register(name: str) -> str:
    if name not in REGISTERS:
        raise ValueError(f"no register {name}, there are {', '.join(REGISTERS)}")
    return name


def _share(percent: str) -> float:
    value = finite(percent)
    if not 0 <= value <= 100:
        raise ValueError(f"{percent} is not a share in percent")
    return value


def _make(settings: DeviceSettings, _port: int) -> SimulatedFurnaces:
    """Return an instrument on a pseudo terminal, with a furnace that heats up to its setpoint."""
    model = EurothermModel()
    model.memory["SP1"], model.memory["SP.RAT"] = 150.0, 20.0
    model.settle()
    return SimulatedFurnaces({int(settings.options.get("unit", 1)): model})


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--unit",
        type=_unit,
        action="append",
        metavar="ADDRESS",
        help="address of an instrument on the line, may be repeated (default: 1)",
    )
    parser.add_argument(
        "--baudrate",
        type=int,
        choices=BAUDRATES,
        default=BAUDRATES[0],
        metavar="BAUD",
        help="1200 to 19200 (default: 9600); characters take the time they would take on a wire",
    )


def _unit(text: str) -> int:
    """Read an address on the line. Raises ArgumentTypeError."""
    if text.isdecimal() and int(text) in UNITS:
        return int(text)
    raise ArgumentTypeError(f"{text!r} is not an address, {UNITS[0]} to {UNITS[-1]}")


def _from_arguments(args: Namespace) -> SimulatedFurnaces:
    models = {number: EurothermModel() for number in args.unit or [1]}
    return SimulatedFurnaces(models, baudrate=args.baudrate, realtime=True)


async def _announce(furnaces: SimulatedFurnaces, _args: Namespace) -> list[str]:
    return [f"furnace controllers {', '.join(map(str, furnaces.slaves))} at {furnaces.address}"]


SIMULATION = Simulation(
    make=_make,
    add_arguments=_add_arguments,
    from_arguments=_from_arguments,
    announce=_announce,
    back_door=BackDoor,
    example="mains 1 off",
    effect="{device}:TEMP turns INVALID; echo mains 1 on the same way, and {device}:PWR:MSG tells the story",
)
