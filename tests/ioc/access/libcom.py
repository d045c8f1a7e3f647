"""Functions of EPICS base (libCom of epicscorelibs) that decide what is right."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from collections.abc import Sequence

from tests.machines import needs

needs("epicscorelibs")

import epicscorelibs.path  # noqa: E402

_Double = ctypes.POINTER(ctypes.c_double)
_COM = ctypes.CDLL(epicscorelibs.path.get_lib("Com"))
_COM.postfix.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_short)]
_COM.postfix.restype = ctypes.c_long
_COM.calcPerform.argtypes = [_Double, _Double, ctypes.c_char_p]
_COM.calcPerform.restype = ctypes.c_long

# The parser of base may crash after a file that it refuses: each is read in a process of its own.
_READER = """
import ctypes, json, os, sys, epicscorelibs.path
com = ctypes.CDLL(epicscorelibs.path.get_lib("Com"))
com.asInitMem.argtypes, com.asInitMem.restype = [ctypes.c_char_p, ctypes.c_char_p], ctypes.c_long
found = []
for text in json.load(sys.stdin):
    pid = os.fork()
    if not pid:
        os._exit(com.asInitMem(text.encode(), None) != 0)
    found.append(os.waitpid(pid, 0)[1] == 0)
print(json.dumps(found))
"""


def calculate(text: str, values: Sequence[float], before: float) -> float | None:
    """The result of a CALC expression, None when base does not understand it."""
    code = ctypes.create_string_buffer(4 * len(text) + 16)
    if _COM.postfix(text.encode(), code, ctypes.byref(ctypes.c_short())):
        return None
    result = ctypes.c_double(before)
    assert _COM.calcPerform((ctypes.c_double * len(values))(*values), ctypes.byref(result), code) == 0
    return result.value


def accepted(texts: Sequence[str]) -> list[bool]:
    """Whether base takes each text as an access security file."""
    done = subprocess.run(
        [sys.executable, "-c", _READER], input=json.dumps(texts), capture_output=True, text=True, check=True
    )
    return [bool(one) for one in json.loads(done.stdout.splitlines()[-1])]
