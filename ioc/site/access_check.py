"""Mistakes of the ``[access]`` section that a schema cannot say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ioc.access.settings import EVERYBODY, LOCAL, host_mistake
from ioc.site.sentences import Found, in_words


def access_mistakes(data: Mapping[str, Any]) -> Found:
    """Refuse hosts that are no addresses, and keys that contradict each other."""
    section = data.get("access")
    if not isinstance(section, dict):
        return
    hosts, write = section.get("hosts"), section.get("write")
    for index, host in enumerate(hosts if isinstance(hosts, list) else ()):
        if isinstance(host, str) and (text := host_mistake(host)):
            yield ("access", "hosts", index), f"found {in_words(host)}, {text}"
    others = ("hosts",) if write == LOCAL else ("hosts", "operators", "experts") if write == EVERYBODY else ()
    for other in others:
        if other in section:
            yield ("access", "write"), f"found {in_words(write)} beside {other}, allowed: one of the two"
    for other in ("operators", "experts", "hosts", "write") if "acf" in section else ():
        if other in section:
            yield ("access", "acf"), f"found {in_words(section['acf'])} beside {other}, allowed: one of the two"
    for other in ("macros", "client_ip") if "acf" not in section else ():
        if other in section:
            yield ("access", other), "is for an access security file, and there is no acf"
