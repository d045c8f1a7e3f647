"""``[recovery]``: channels that may be switched on again after a trip, from the site file to what the rules need.

One reading of the section gives the settings and every mistake in them, so that what is checked is what is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from typing import Any

from devices.registry import FAMILIES
from ioc.database.support import RECOVERY_CAUSE, RECOVERY_TAG
from ioc.site import keys
from ioc.site.sentences import Found, did_you_mean, in_words
from ioc.site.source import KeyPath
from ioc.site.templates import family_records


@dataclass(frozen=True, slots=True)
class RecoverySettings:
    """How a channel is recovered: ``wait``, ``dwell``, ``calm`` and ``timeout`` in seconds, ``fraction`` up to 1.

    ``calm`` is how long a channel has to stand before attempts count anew, ``timeout`` how long a ramp may take.
    ``tries`` in a row is where REC:TRIES begins; ``per_hour`` is how many attempts an hour may have.
    """

    wait: float = 60.0
    fraction: float = 0.8
    dwell: float = 60.0
    calm: float = 600.0
    timeout: float = 3600.0
    tries: int = 2
    per_hour: int = 3


_DEFAULTS = RecoverySettings()


def recovery_schema() -> keys.Schema:
    """Return the schema of the ``[recovery]`` section."""

    def seconds(default: float, low: float, about: str) -> keys.Schema:
        return keys.key("number", about, minimum=low, maximum=86400, default=default)

    def count(default: int, about: str) -> keys.Schema:
        return keys.key("integer", about, minimum=1, maximum=10, default=default)

    properties = {
        "channels": keys.names('Names or aliases without the prefix, with * ? [...]: ["CALO:*", "HV2:CH00"]'),
        "wait": seconds(_DEFAULTS.wait, 10, "Seconds from the trip to the attempt"),
        "fraction": keys.key(
            "number",
            "Share of the voltage at which the output is switched on",
            exclusiveMinimum=0,
            maximum=1,
            default=_DEFAULTS.fraction,
        ),
        "dwell": seconds(_DEFAULTS.dwell, 0, "Seconds at that share, once it has settled"),
        "calm": seconds(_DEFAULTS.calm, 60, "Seconds that a channel has to stand before attempts count anew"),
        "timeout": seconds(_DEFAULTS.timeout, 10, "Seconds that each of the two ramps may take"),
        "tries": count(_DEFAULTS.tries, "Attempts in a row, where REC:TRIES begins"),
        "per_hour": count(_DEFAULTS.per_hour, "Attempts of a channel within an hour"),
    }
    about = (
        "Channels that are switched on again after a trip once an expert has armed them (REC:MODE); "
        "no safety system; off without this section"
    )
    return keys.table(properties, about, required=["channels"])


def recovery_of(data: Mapping[str, Any]) -> tuple[dict[str, RecoverySettings], list[tuple[KeyPath, str]]]:
    """Return the settings by channel (``HV1:CH00``), and every mistake that a schema cannot find."""
    section = data.get("recovery")
    if not isinstance(section, dict):
        return {}, []
    known = {field.name for field in fields(RecoverySettings)}
    site = data.get("site")
    prefix = f"{site.get('prefix')}:" if isinstance(site, dict) else ""
    settings = RecoverySettings(**{key: value for key, value in section.items() if key in known})
    channels = dict(_channels(data))
    found: dict[str, RecoverySettings] = {}
    mistakes: list[tuple[KeyPath, str]] = []
    patterns = section.get("channels")
    for index, pattern in enumerate(patterns if isinstance(patterns, list) else ()):
        bare = str(pattern).removeprefix(prefix)
        named = [base for base, alias in channels.items() if fnmatchcase(base, bare) or fnmatchcase(alias, bare)]
        if not named:
            hint = did_you_mean(bare, [name for pair in channels.items() for name in pair if name])
            text = f"found {in_words(pattern)}, which is no channel that can be recovered{hint}"
            mistakes.append((("recovery", "channels", index), text))
        found |= dict.fromkeys(named, settings)
    return found, mistakes


def recovery_mistakes(data: Mapping[str, Any]) -> Found:
    """Yield every mistake in the section."""
    yield from recovery_of(data)[1]


def _channels(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each channel that reports a trip by itself and may be written, with its alias or an empty text."""
    devices = data.get("device")
    for device in devices if isinstance(devices, list) else ():
        if not isinstance(device, dict) or device.get("type") not in FAMILIES or device.get("readonly") is True:
            continue
        family = FAMILIES[device["type"]]
        count, channels = device.get("channels", family.default_channels), device.get("channel")
        records = family_records(family.type)[1].values()
        if isinstance(count, int) and any(record.info.get(RECOVERY_TAG) == RECOVERY_CAUSE for record in records):
            for number in range(min(count, 100)):
                own = channels.get(str(number)) if isinstance(channels, dict) else None
                yield f"{device.get('name')}:CH{number:02d}", str(own.get("alias", "")) if isinstance(own, dict) else ""
