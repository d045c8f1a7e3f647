"""Back door of the simulated CAEN supply: one text command per line, one line back.

For demonstrations and for tests that run in another process: it puts the unit into states that no client of the
wire could reach. ``help`` lists the commands. Loopback only, since it asks for no password.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress

from devices.sim_caen_channel import Channel
from devices.sim_caen_server import SimulatedSupply

SWITCHES = ("silent", "garbage", "reset_mid_reply", "split", "merge", "duplicate", "echo", "telnet", "mute_sets")
"""Faults of the wire that are on or off."""

Action = Callable[..., Awaitable[str] | str]


class BackDoor:
    """Listens on a port of its own; start it after the supply, stop it before."""

    def __init__(self, supply: SimulatedSupply, port: int = 0) -> None:
        self._supply = supply
        self._port = port
        self._server: asyncio.Server | None = None
        self._sessions: set[asyncio.Task[None]] = set()
        self._commands: dict[str, tuple[str, Action]] = {
            "help": ("", self._help),
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
            **{name: ("on|off", self._switch(name)) for name in SWITCHES},
        }

    @property
    def port(self) -> int:
        """The TCP port that it listens on, once started."""
        return self._port

    async def start(self) -> None:
        """Listen on the loopback interface; raises OSError when the port is taken."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and close every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for session in self._sessions:
            session.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)

    async def execute(self, line: str) -> str:
        """Run one command and return its one-line answer, which starts with ``error`` when it went wrong."""
        name, *words = line.split() or [""]
        if name not in self._commands:
            return f"error: no command {name!r}; try help"
        usage, action = self._commands[name]
        if len(words) != len(usage.split()):
            return f"error: use {name} {usage}".rstrip()
        try:
            answer = action(*words)
            return answer if isinstance(answer, str) else await answer
        except ValueError as error:
            return f"error: {error}; use {name} {usage}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = asyncio.current_task()
        assert session is not None
        self._sessions.add(session)
        try:
            while line := await reader.readline():
                writer.write(f"{await self.execute(line.decode('utf-8', 'replace'))}\n".encode())
                await writer.drain()
        except (ValueError, ConnectionError, asyncio.CancelledError):
            pass  # an endless line, a client that went away, or the end of the simulation
        finally:
            self._sessions.discard(session)
            writer.close()
            with suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    def _channel(self, word: str) -> Channel:
        return self._supply.model.channels[self._number(word)]

    def _number(self, word: str) -> int:
        count = len(self._supply.model.channels)
        if not word.isdecimal() or int(word) >= count:
            raise ValueError(f"no channel {word}, there are 0 to {count - 1}")
        return int(word)

    def _help(self) -> str:
        return "; ".join(f"{name} {usage}".rstrip() for name, (usage, _) in sorted(self._commands.items()))

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
        self._supply.model.kill(self._number(channel), _is_on(state))
        return "ok"

    def _collapse(self, channel: str, state: str) -> str:
        self._channel(channel).collapsed = _is_on(state)
        return "ok"

    def _drift(self, channel: str, volts: str) -> str:
        self._channel(channel).error_volts = _finite(volts)
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
        self._supply.model.interlock(_is_on(state))
        return "ok"

    def _local(self, state: str) -> str:
        self._supply.model.local = _is_on(state)
        return "ok"

    def _groups(self, state: str) -> str:
        self._supply.model.refuse_groups = not _is_on(state)
        return "ok"

    def _unknown(self, parameter: str, state: str) -> str:
        if _is_on(state):
            self._supply.model.unknown.add(parameter)
        else:
            self._supply.model.unknown.discard(parameter)
        return "ok"

    def _power(self) -> str:
        self._supply.model.power_cycle()
        return "ok"

    def _delay(self, seconds: str) -> str:
        value = _finite(seconds)
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
        if _is_on(state):
            await self._supply.accept_connections()
        else:
            await self._supply.refuse_connections()
        return "ok"

    def _switch(self, name: str) -> Action:
        def switch(state: str) -> str:
            setattr(self._supply.faults, name, _is_on(state))
            return "ok"

        return switch


def _is_on(word: str) -> bool:
    if word not in ("on", "off"):
        raise ValueError(f"{word} is neither on nor off")
    return word == "on"


def _finite(word: str) -> float:
    value = float(word)
    if not math.isfinite(value):
        raise ValueError(f"{word} is not a finite number")
    return value


def _status_word(word: str) -> int:
    if not word.isdecimal() or int(word) > 0xFFFF:
        raise ValueError(f"{word} is not a status word (0 to 65535)")
    return int(word)
