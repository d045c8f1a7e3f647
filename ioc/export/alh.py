"""The alarm tree of a site for the classic alarm handler ALH: the same PVs as for the alarm server of Phoebus.

The format is that of the "ALH User's Guide" of EPICS. A line ``$FORCEPV`` disables the alarms of a device while it does
not answer: that is an alarm of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

from ioc.export.alarm import Alarm, alarms, screen_link
from ioc.export.plant import Plant

_SPOKEN, _SHOWN = "-----", "--AT-"
"""Masks: nothing masked, and neither acknowledge nor transients asked for."""


def write(plant: Plant) -> dict[str, str]:
    """Return the configuration file."""
    top = plant.prefix.replace(":", "_")
    lines = [f"GROUP NULL {top}", f"$ALIAS {plant.prefix}"]
    made: set[tuple[str, ...]] = set()
    for alarm in alarms(plant):
        path = tuple(alarm.path)
        for depth in range(1, len(path) + 1):
            if path[:depth] not in made:
                made.add(path[:depth])
                lines += ["", f"GROUP {_node(top, path[: depth - 1])} {_node(top, path[:depth])}"]
                lines += [f"$ALIAS {path[depth - 1]}"]
        lines += ["", *_channel(_node(top, path), alarm)]
    return {f"{top}.alhConfig": "\n".join(lines) + "\n"}


def _node(top: str, path: tuple[str, ...]) -> str:
    """Name of a group: unique, and without blanks."""
    return "-".join((top, *path)).replace(" ", "_")


def _channel(group: str, alarm: Alarm) -> Iterator[str]:
    yield f"CHANNEL {group} {alarm.pv} {_SPOKEN if alarm.spoken else _SHOWN}"
    yield f"$ALIAS {alarm.description}"
    yield f"$ALARMCOUNTFILTER 1 {alarm.delay}"
    link, _, condition = alarm.filter.lstrip("'").partition("' ")
    if condition == "== 1":
        yield f"$FORCEPV {link} -D--- 0 1"
    yield f'$COMMAND phoebus.sh -resource "{screen_link(alarm.screen, "file:$TOP")}"'
    if alarm.guidance:
        yield from ("$GUIDANCE", alarm.guidance, "$END")
