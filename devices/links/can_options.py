"""Which options a CAN adapter may have: python-can hands most wrong ones on without looking at them."""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from typing import Any

import can
from can.interfaces import BACKENDS

_TAKEN = re.compile(r"""kwargs(?:\.get|\.pop)?[(\[]\s*["'](\w+)["']""")
_OURS = {"self", "args", "kwargs"}
_EVERYWHERE = {"interface", "channel", "bitrate"}  # virtual buses ignore a bit rate, which does no harm


def option_mistakes(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each option that python-can would not understand, with the reason.

    Options are looked up in the signatures of the interface's class. An interface whose library is not installed
    here cannot be asked; its options are taken as they are.
    """
    interface = options.get("interface")
    if interface not in BACKENDS:
        yield "interface", f"found {interface!r}, allowed: {_allowed(str(interface), BACKENDS)}"
        return
    rate = options.get("bitrate", 125_000)
    if not isinstance(rate, int) or isinstance(rate, bool) or not 10_000 <= rate <= 1_000_000:
        yield "bitrate", f"found {rate!r}, allowed: bits per second as a whole number, 10000 to 1000000, e.g. 125000"
    known = _accepted(str(interface))
    for name in options:
        if known is not None and name not in known:
            yield name, f"no option of interface {interface}, allowed: {_allowed(name, known)}"


def _allowed(word: str, known: Collection[str]) -> str:
    """Return what is allowed in place of a word, with the nearest of it as a question."""
    close = difflib.get_close_matches(word, list(known), 1)
    return ", ".join(sorted(known)) + (f"; did you mean {close[0]}?" if close else "")


@cache
def _accepted(interface: str) -> frozenset[str] | None:
    """Return the options that the class of an interface takes, None when that cannot be found out."""
    module, name = BACKENDS[interface]
    try:
        adapter: type[can.BusABC] = getattr(importlib.import_module(module), name)
    except Exception:  # whatever a vendor's library raises when it is not there
        return None
    names = set(_EVERYWHERE)
    for base in inspect.getmro(adapter):
        make = vars(base).get("__init__")
        if not inspect.isfunction(make):
            continue
        parameters = inspect.signature(make).parameters
        names |= parameters.keys() - _OURS
        names |= set(_TAKEN.findall(inspect.getsource(make)))
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            break
    return frozenset(name for name in names if not name.startswith("_"))
