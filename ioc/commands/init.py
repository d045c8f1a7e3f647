"""``labioc init``: look for devices and write a first site file. Nothing is written to any device."""

from __future__ import annotations

import argparse
import asyncio
import logging
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from devices.discovery import Discovery, Found
from devices.registry import FAMILIES
from ioc.commands.output import complain
from ioc.errors import MistakesError
from ioc.site.draft import NewDevice, draft, free_name
from ioc.site.schema import site_schema

_DEFAULT_PREFIX, _DEFAULT_FILE = "LAB", "site.toml"


class InitError(MistakesError):
    """No site file can be made; the file is not touched."""

    subject = "labioc init"


def init_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``init``."""
    parser.description = (
        "Look for devices and write a first site file. Nothing is written to any device. Asks at a terminal; in a "
        "script say what to look at with --device."
    )
    parser.add_argument(
        "--device",
        action="append",
        type=_device,
        metavar="TYPE=PLACE",
        help=f"look there; TYPE is one of {', '.join(_types())}, PLACE like tcp://192.168.1.50:1470, "
        "serial:///dev/ttyUSB0 or can://socketcan/can0; may be repeated",
    )
    parser.add_argument("--prefix", help=f"first part of every PV name (default: {_DEFAULT_PREFIX})")
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, help=f"the file to write, a new one (default: {_DEFAULT_FILE})"
    )


def _device(text: str) -> tuple[str, str]:
    """Read TYPE=PLACE. Raises ArgumentTypeError."""
    type_, _, place = text.partition("=")
    if not place or type_ not in _types():
        raise argparse.ArgumentTypeError(f"{text!r} is not TYPE=PLACE; types: {', '.join(_types())}")
    return type_, place


def _types() -> list[str]:
    return [name for name in FAMILIES if FAMILIES[name].found_by]


def init(args: argparse.Namespace) -> int:
    """Make the file; exit status 1 when nothing was found. Raises InitError, SiteError or OSError."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="  %(message)s")
    if not args.device and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise InitError(
            ["no terminal to ask at: say where to look with --device TYPE=PLACE, e.g. PLACE tcp://192.168.1.50:1470"]
        )
    if args.prefix is not None and (mistake := _prefix_mistake(args.prefix)):
        raise InitError([f"--prefix: {mistake}"])
    file = args.output or Path(_DEFAULT_FILE)
    if args.output is not None or args.device:
        _check_new(file)
    if args.device:
        found = _of_arguments(args.device)
        prefix = args.prefix or _DEFAULT_PREFIX
    else:
        print("This makes a site file. It only looks: nothing is written to any device. Ctrl-C ends it without a file.")
        prefix = args.prefix or _ask("First part of every PV name", _DEFAULT_PREFIX, check=_prefix_mistake)
        found = _asked()
        if args.output is None and found:
            file = Path(_ask("File", _DEFAULT_FILE, check=_file_mistake))
    if not found:
        complain("no device to serve, no file was written")
        return 1
    text = draft(prefix, found, str(file))
    _check_new(file)
    with file.open("x", encoding="utf-8") as stream:
        stream.write(text)
    print(f"{file}: written, with readonly = true for each device")
    print(f"next: read it, then labioc check {file}, then labioc run {file}")
    return 0


def _check_new(file: Path) -> None:
    """Raise InitError when a file cannot be a new one."""
    if mistake := _file_mistake(str(file)):
        raise InitError([mistake])


def _file_mistake(text: str) -> str:
    if Path(text).exists():
        return f"{text} is there already and is left as it is; choose another name with -o"
    return "" if Path(text).parent.is_dir() else f"there is no folder {Path(text).parent}"


def _prefix_mistake(text: str) -> str:
    schema = site_schema()["properties"]["site"]["properties"]["prefix"]
    good = re.fullmatch(schema["pattern"], text) and len(text) <= schema["maxLength"]
    return "" if good else f"found {text!r}, allowed: {schema['description']}"


def _of_arguments(places: Sequence[tuple[str, str]]) -> list[NewDevice]:
    """Look at every place; all have to have something. Raises InitError."""
    devices: list[NewDevice] = []
    for type_, place in places:
        try:
            found = _look(type_, place)
        except ValueError as error:
            raise InitError([f"--device {type_}={place}: {error}"]) from error
        if not found:
            complain(f"nothing was found at {place}")
            return []
        _add(devices, type_, found)
    return devices


def _look(type_: str, place: str) -> Sequence[Found]:
    """Return what is at a place, and show it. Raises ValueError for a place that is none."""
    found = asyncio.run(_discovery(type_).look(place, lambda line: print(f"  {line}", file=sys.stderr)))
    for one in found:
        print(f"found: {one.text}")
    return found


def _discovery(type_: str) -> Discovery:
    """Return how devices of one of ``_types`` are looked for."""
    discovery = FAMILIES[type_].discovery()
    assert discovery is not None
    return discovery


def _add(devices: list[NewDevice], type_: str, found: Sequence[Found]) -> None:
    for one in found:
        name = free_name(FAMILIES[type_], one.number, [device.name for device in devices])
        devices.append(NewDevice(name, type_, one))


def _asked() -> list[NewDevice]:
    """Ask for devices until there are no more."""
    devices: list[NewDevice] = []
    kinds = {name: FAMILIES[name].title for name in _types()}
    while type_ := _choose(f"{'Another' if devices else 'Which'} kind of device", kinds, end="no more"):
        discovery = _discovery(type_)
        print(f"Where? {discovery.where}")
        place = _choose("Place", dict.fromkeys(discovery.places(), ""), end="none", free=True)
        if not place:
            continue
        try:
            _add(devices, type_, _look(type_, place))
        except ValueError as error:
            print(error, file=sys.stderr)
    return devices


def _ask(
    question: str, default: str = "", words: Iterable[str] = (), check: Callable[[str], str] = lambda _: ""
) -> str:
    """Ask at the terminal; return an answer, or the default when there was none or no more can come.

    ``check`` returns what is wrong with an answer, which is then asked for again. Raises KeyboardInterrupt.
    """
    while True:
        try:
            answer = _line(f"{question}{f' [{default}]' if default else ''}: ", list(words)).strip() or default
        except EOFError:
            print()
            return default
        mistake = check(answer)
        if not mistake:
            return answer
        print(f"  {mistake}")


def _choose(question: str, choices: Mapping[str, str], end: str, free: bool = False) -> str:
    """Return one of the choices, given by its number or as it is written; empty for the ``end`` of the questions.

    ``choices`` have a few words about each; with ``free`` any other answer is taken too.
    """
    for number, (choice, about) in enumerate(choices.items(), 1):
        print(f"  {number}  {choice}{f'  {about}' if about else ''}")

    def chosen(answer: str) -> str:
        numbered = answer.isdecimal() and 1 <= int(answer) <= len(choices)
        return list(choices)[int(answer) - 1] if numbered else answer

    def mistake(answer: str) -> str:
        good = free or chosen(answer) in choices or not answer
        return "" if good else f"found {answer!r}, allowed: a number, {', '.join(choices)}, or nothing"

    return chosen(_ask(f"{question} (Enter: {end})", "", choices, mistake))


def _line(prompt: str, words: list[str]) -> str:
    """Return a line of the terminal, with prompt-toolkit one that is completed and can be edited.

    Raises EOFError and KeyboardInterrupt.
    """
    try:
        from prompt_toolkit import prompt as ask  # noqa: PLC0415  an extra, and it takes long to import
        from prompt_toolkit.completion import WordCompleter  # noqa: PLC0415
    except ImportError:
        return input(prompt)
    completer = WordCompleter(words, sentence=True)
    return ask(prompt, completer=completer, reserve_space_for_menu=min(len(words), 4))
