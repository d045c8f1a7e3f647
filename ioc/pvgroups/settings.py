"""What the site file says of a caproto PVGroup; without caproto, whose server takes long to import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TYPE = "caproto"
"""``type`` of a ``[[device]]`` that is a PVGroup."""


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """One ``[[device]]`` of type caproto: ``group`` is ``package.module:Class``, ``arguments`` its keyword arguments.

    ``prefix`` is what the names of its PVs begin with.
    """

    name: str
    group: str
    prefix: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
