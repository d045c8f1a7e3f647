"""The functions of the C Channel Access library that epicscorelibs ships, declared for ctypes.

A callback of the library finds its Python target in ``targets`` by the token that went along as user pointer;
tokens come from ``tokens``. Such targets run in threads of the library.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable
from functools import cache
from typing import Any

from tests.machines import needs


@cache
def _library() -> ctypes.CDLL:
    """Load the library when it is first called, so that only tests that use it need it."""
    needs("epicscorelibs")
    from epicscorelibs import path

    ctypes.CDLL(path.get_lib("Com"), ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(path.get_lib("ca"), ctypes.RTLD_GLOBAL)


CONNECTION_UP = 6


class EventArgs(ctypes.Structure):
    _fields_ = (
        ("usr", ctypes.c_void_p),
        ("chid", ctypes.c_void_p),
        ("type", ctypes.c_long),
        ("count", ctypes.c_long),
        ("dbr", ctypes.c_void_p),
        ("status", ctypes.c_int),
    )


class ConnectionArgs(ctypes.Structure):
    _fields_ = (("chid", ctypes.c_void_p), ("op", ctypes.c_long))


class ExceptionArgs(ctypes.Structure):
    _fields_ = (
        ("usr", ctypes.c_void_p),
        ("chid", ctypes.c_void_p),
        ("type", ctypes.c_long),
        ("count", ctypes.c_long),
        ("addr", ctypes.c_void_p),
        ("stat", ctypes.c_long),
        ("op", ctypes.c_long),
        ("ctx", ctypes.c_char_p),
        ("file", ctypes.c_char_p),
        ("line", ctypes.c_uint),
    )


def _declare(name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    @cache
    def function() -> Callable[..., Any]:
        found: Any = getattr(_library(), name)
        found.restype, found.argtypes = result, arguments
        return found  # type: ignore[no-any-return]

    def call(*values: Any) -> Any:
        return function()(*values)

    return call


_P, _I, _L, _U, _D = ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_ulong, ctypes.c_double
context_create = _declare("ca_context_create", _I, _I)
context_destroy = _declare("ca_context_destroy", None)
current_context = _declare("ca_current_context", _P)
attach_context = _declare("ca_attach_context", _I, _P)
detach_context = _declare("ca_detach_context", None)
flush_io = _declare("ca_flush_io", _I)
_pointer = ctypes.POINTER(_P)
create_channel = _declare("ca_create_channel", _I, ctypes.c_char_p, _P, _P, ctypes.c_uint, _pointer)
clear_channel = _declare("ca_clear_channel", _I, _P)
field_type = _declare("ca_field_type", ctypes.c_short, _P)
element_count = _declare("ca_element_count", _U, _P)
host_name = _declare("ca_host_name", ctypes.c_char_p, _P)
read_access = _declare("ca_read_access", ctypes.c_uint, _P)
write_access = _declare("ca_write_access", ctypes.c_uint, _P)
puser = _declare("ca_puser", _P, _P)
rights = _declare("ca_replace_access_rights_event", _I, _P, _P)
get = _declare("ca_array_get_callback", _I, _L, _U, _P, _P, _P)
put = _declare("ca_array_put", _I, _L, _U, _P, ctypes.c_char_p)
put_callback = _declare("ca_array_put_callback", _I, _L, _U, _P, ctypes.c_char_p, _P, _P)
subscribe = _declare("ca_create_subscription", _I, _L, _U, _P, _L, _P, _P, _pointer)
clear_subscription = _declare("ca_clear_subscription", _I, _P)
exception_event = _declare("ca_add_exception_event", _I, _P, _P)
message = _declare("ca_message", ctypes.c_char_p, _L)

tokens = itertools.count(1)
targets: dict[int, Callable[[Any], None]] = {}


def _dispatch(usr: int | None, arguments: Any) -> None:
    target = targets.get(usr or 0)
    if target is not None:
        target(arguments)


# The callbacks live as long as the module: the library may call one until its context is destroyed.
on_event = ctypes.CFUNCTYPE(None, EventArgs)(lambda args: _dispatch(args.usr, args))
on_connection = ctypes.CFUNCTYPE(None, ConnectionArgs)(lambda args: _dispatch(puser(args.chid), args))
on_rights = ctypes.CFUNCTYPE(None, ConnectionArgs)(lambda args: _dispatch(puser(args.chid), None))
on_exception = ctypes.CFUNCTYPE(None, ExceptionArgs)(lambda args: _dispatch(args.usr, args))
