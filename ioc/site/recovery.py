"""``[recovery]``: channels that may be switched on again after a trip, from the site file to what the rules need.

One reading of the section gives the settings and every mistake in them, so that what is checked is what is used.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from ioc.site import keys
from ioc.site.contents import Table, listed, table
from ioc.site.members import Reader, candidates
from ioc.site.source import KeyPath


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


def recovery_of(data: Table) -> tuple[dict[str, RecoverySettings], list[tuple[KeyPath, str]]]:
    """Return the settings by channel (``HV1:CH00``), and every mistake that a schema cannot find."""
    section = table(data, "recovery")
    if not section:
        return {}, []
    known = {field.name for field in fields(RecoverySettings)}
    settings = RecoverySettings(**{key: value for key, value in section.items() if key in known})
    channels = [one for one in candidates(data) if one.recovers and not one.readonly]
    reader = Reader(data, section, "recovery", "channels")
    found: dict[str, RecoverySettings] = {}
    for index, pattern in enumerate(listed(section, "channels")):
        for _, named in reader.named([pattern], channels, "no channel that can be recovered", index):
            found |= dict.fromkeys((one.base for one in named), settings)
    return found, reader.mistakes
