"""Write the generated pages of docs/reference: the PVs of each device family, the site file, the command line.

    python scripts/generate_reference.py            writes the pages
    python scripts/generate_reference.py --check    names those that are out of date, exit status 1 when some are
    python scripts/generate_reference.py --family TYPE    prints the page of any family that is installed

The PVs come from the templates in db/, the keys from the schema that ``labioc schema`` prints, the commands from
the parser of the command line itself.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from devices.family import Family
from devices.registry import FAMILIES
from ioc import commandline
from ioc.database.dbfile import RecordDef
from ioc.database.support import STATUS_SIGNALS
from ioc.records.fieldtable import STATE_SEVERITIES, STATE_STRINGS
from ioc.site.schema import site_schema
from ioc.site.templates import family_templates, template

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "reference"
INDEX = FOLDER.parent / "README.md"
MARKS = ("<!-- reference pages, by scripts/generate_reference.py -->", "<!-- end of reference pages -->")
NOTE = "<!-- Written by scripts/generate_reference.py: edit the source that it reads, then run it again. -->"
MACROS = {"P": "P", "DEV": "D", "CH": "00", "FAST": "period"}
SETTING_PARTS = (":RBV", ":HI", ":LO", ":RES")
OUTPUTS = {"ao", "bo", "mbbo", "longout", "stringout"}
LIMIT_FIELDS = {"HIHI": "HHSV", "HIGH": "HSV", "LOW": "LSV", "LOLO": "LLSV"}
ARCHIVE = {"": "-", "monitor": "on change"}


def built_in() -> list[Family]:
    """Return the families of this package; those of others have pages of their own."""
    return [FAMILIES[name] for name in FAMILIES.built_in]


def pages() -> dict[str, str]:
    """Return the text of every generated page by its file name."""
    found = {family.page: family_page(family) for family in built_in()}
    found |= {
        "server-pvs.md": server_page(),
        "site-file.md": site_file_page(),
        "command-line.md": command_line_page(),
    }
    return {name: text.rstrip("\n") + "\n" for name, text in found.items()}


def index_page(written: Iterable[str]) -> str:
    """Return docs/README.md with every page of docs/reference between its two marks."""
    names = {path.name for path in FOLDER.glob("*.md")} | set(written)
    titles = {name: title_of((FOLDER / name).read_text(encoding="utf-8")) for name in sorted(names)}
    lines = [f"- [{title}](reference/{name})" for name, title in titles.items()]
    before, rest = INDEX.read_text(encoding="utf-8").split(MARKS[0])
    return "\n".join([before + MARKS[0], *lines, MARKS[1] + rest.split(MARKS[1])[1]])


def title_of(page: str) -> str:
    """Return the first heading of a page."""
    return next(line.removeprefix("# ") for line in page.splitlines() if line.startswith("# "))


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a Markdown table; a bar inside a cell is escaped."""
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return [*lines, ""]


# ---- PVs


def states(record: RecordDef) -> str:
    """States of an enumerated record, each with its severity when that is not NO_ALARM."""
    names = ("ZNAM", "ONAM") if record.rtyp in {"bi", "bo"} else STATE_STRINGS
    return ", ".join(record.fields[name] for name in names if name in record.fields)


def severities(record: RecordDef) -> str:
    """What alarms by the template alone, whatever the circumstances."""
    fields, found = record.fields, []
    for limit, severity in LIMIT_FIELDS.items():
        if limit in fields and fields.get(severity, "NO_ALARM") != "NO_ALARM":
            found.append(f"{limit} {fields[limit]}: {fields[severity]}")
    pairs = [("ZNAM", "ZSV"), ("ONAM", "OSV"), *zip(STATE_STRINGS, STATE_SEVERITIES, strict=True)]
    for name, severity in pairs:
        if fields.get(severity, "NO_ALARM") != "NO_ALARM" and name in fields:
            found.append(f"{fields[name]}: {fields[severity]}")
    return ", ".join(found) or "-"


def pv_row(suffix: str, record: RecordDef) -> tuple[str, ...]:
    """One line of a table of PVs."""
    scan = "" if record.rtyp in OUTPUTS else record.fields.get("SCAN", "Passive")
    scan = {"Passive": "once", "I/O Intr": "server", "": "-"}.get(scan, scan)
    text = record.fields["DESC"]
    if guidance := record.info.get("guidance"):
        text += f". *{guidance}*"
    kept = record.info.get("archive", "")
    kept = ARCHIVE.get(kept, kept.replace("monitor ", "change of "))
    unit = record.fields.get("EGU", "") or states(record)
    return f"`{suffix}`", record.rtyp, unit, scan, record.info.get("access", ""), severities(record), kept, text


def pv_table(records: Mapping[str, RecordDef]) -> list[str]:
    """Return a table of PVs, or nothing when there are none."""
    headings = ("suffix", "record", "unit or states", "read", "who", "severity", "archived", "meaning and what to do")
    return table(headings, (pv_row(suffix, record) for suffix, record in records.items())) if records else []


def sections(records: Mapping[str, RecordDef]) -> Iterator[tuple[str, dict[str, RecordDef]]]:
    """Sort records into what is read, what is set, the commands and the bits of status words."""
    settings = {name for name, record in records.items() if record.rtyp in OUTPUTS and not name.endswith(":CMD")}
    parts = {name + part for name in settings for part in SETTING_PARTS}
    bits = {name for name in records if name.startswith(("STAT:", "EVT:"))}
    commands = {name for name, record in records.items() if record.rtyp in OUTPUTS} - settings
    rest = records.keys() - settings - parts - bits - commands
    for title, wanted in (
        ("Measured and derived", rest),
        ("Settings", settings | parts),
        ("Commands", commands),
        ("Status bits", bits),
    ):
        if wanted:
            yield title, {name: record for name, record in records.items() if name in wanted}


LEGEND = [
    "How to read the tables:",
    "",
    "- **read**: how often the device is asked; `period` is the key of the site file (1 s when left out), `once` means",
    "  after each connection, `-` that the PV holds the value last accepted. A client can change it with `.SCAN`.",
    "- **who** may write: R none, O operators and experts, E experts ([access rights](../how-to/access-rights.md)).",
    "- **severity**: what the record itself makes of its value. What depends on the circumstances (ramping, settling,",
    "  a read-back that differs) comes on top: [alarms](../explanation/alarms.md).",
    "- **archived**: when an archiver keeps a point (the `archive` tag of the record), `-` for never.",
    "- `X:RBV` is the setting as the device reports it, `X:HI` and `X:LO` are the limits in force, `X:RES` is its",
    "  smallest step. `...:CMD` is a command: write 1, it returns to 0 when done.",
    "- A text in an `lsi` record may have more than 40 characters; `NAME$` is all: `caget -S 'LAB:HV1:PUT:MSG$'`.",
    "",
]


def family_page(family: Family) -> str:
    """Return the page with the PVs of one family."""
    templates = family_templates(family.type)
    own = {
        record.name.removeprefix("P:D:"): record
        for record in templates.device.expand(MACROS)
        if record.name.removeprefix("P:D:").replace(":", ".") not in STATUS_SIGNALS
    }
    lines = [NOTE, "", f"# PVs: {family.title}", ""]
    lines += [f"Type `{family.type}` in the [site file](site-file.md).", ""]
    lines += [
        "`LAB` stands for the prefix and `DEV` for the name of the device, both from the site file. The PVs about"
    ]
    lines += ["the connection, which every device has, are in [server-pvs.md](server-pvs.md).", "", *LEGEND]
    if templates.channel is not None:
        channel = {r.name.removeprefix("P:D:CH00:"): r for r in templates.channel.expand(MACROS)}
        lines += ["## Channel: `LAB:DEV:CH00:...`", "", "Channels are counted from 00, with two digits.", ""]
        for title, records in sections(channel):
            lines += [f"### {title}", "", *pv_table(records)]
    if own:
        lines += ["## Device: `LAB:DEV:...`", ""]
        for title, records in sections(own):
            lines += [f"### {title}", "", *pv_table(records)]
    if templates.full is not None:
        more = {record.name.removeprefix("P:D:"): record for record in templates.full.expand(MACROS)}
        lines += ['## Device with `detail = "full"`: `LAB:DEV:...`', ""]
        for title, records in sections(more):
            lines += [f"### {title}", "", *pv_table(records)]
    return "\n".join(lines)


def server_page() -> str:
    """Return the page with the PVs of the server and those about the connection to each device."""
    family = next(iter(FAMILIES))
    about = {
        record.name.removeprefix("P:D:"): record
        for record in family_templates(family).device.expand(MACROS)
        if record.name.removeprefix("P:D:").replace(":", ".") in STATUS_SIGNALS
    }
    server = {record.name.removeprefix("P:IOC:"): record for record in template("ioc").expand(MACROS)}
    lines = [NOTE, "", "# PVs about the connections and the server", "", *LEGEND]
    lines += ["## Connection to each device: `LAB:DEV:...`", ""]
    lines += [
        "The server fills these itself. They stay valid while the device is lost; `server` means once a second and"
    ]
    lines += ["whenever something happens.", "", *pv_table(about)]
    lines += ["## Server: `LAB:IOC:...`", "", *pv_table(server)]
    everything = {record.name.removeprefix("P:GRP:"): record for record in template("all-off").expand(MACROS)}
    lines += ["## All outputs: `LAB:GRP:...`", ""]
    lines += ["Where a device has outputs of high voltage: [how to use it](../how-to/switch-everything-off.md).", ""]
    lines += pv_table(everything)
    group = {
        record.name.removeprefix("P:GRP:NAME:"): record
        for record in template("group").expand({**MACROS, "GROUP": "NAME"})
    }
    lines += ["", "## Groups: `LAB:GRP:NAME:...`", ""]
    lines += ["For each [`[[group]]`](../how-to/groups.md) of the site file.", "", *pv_table(group)]
    interlock = {
        record.name.removeprefix("P:ILK:NAME:"): record
        for record in template("interlock").expand({**MACROS, "INTERLOCK": "NAME"})
    }
    lines += ["", "## Interlocks: `LAB:ILK:NAME:...`", ""]
    lines += ["For each [`[[interlock]]`](../how-to/interlocks.md) of the site file.", "", *pv_table(interlock)]
    return "\n".join(lines)


# ---- site file


def kind(schema: Mapping[str, Any]) -> str:
    """Say in a few words what a key may hold."""
    if "const" in schema:
        return f'`"{schema["const"]}"`'
    if "enum" in schema:
        return ", ".join(f"`{str(value).lower() if isinstance(value, bool) else value}`" for value in schema["enum"])
    if "$ref" in schema:
        return "table"
    if "anyOf" in schema:
        return " or ".join(kind(one) for one in schema["anyOf"])
    words = {
        "string": "text",
        "integer": "whole number",
        "boolean": "`true`, `false`",
        "array": "list",
        "object": "table",
    }
    text = words.get(schema.get("type", ""), str(schema.get("type", "")))
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    if low is not None and "maximum" in schema:
        text += f", {'above ' if 'exclusiveMinimum' in schema else ''}{low} to {schema['maximum']}"
    return text


def key_rows(section: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """One line for each key of a section that is no table of its own."""
    definitions = site_schema()["$defs"]
    for key, schema in section.get("properties", {}).items():
        target = definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
        about = target.get("description") or target.get("items", {}).get("description", "")
        default = str(schema["default"]).lower() if "default" in schema else "-"
        if key in section.get("required", ()):
            default = "**needed**"
        yield f"`{key}`", kind(schema), f"`{default}`" if default[0] not in "-*" else default, about


def key_table(section: Mapping[str, Any]) -> list[str]:
    """Return the table of the keys of a section, with the description of the section in front."""
    about = [section["description"] + ".", ""] if section.get("description") else []
    return about + table(("key", "value", "default", "meaning"), key_rows(section))


def site_file_page() -> str:
    """Return the page about the keys of the site file."""
    schema = site_schema()
    top, definitions = schema["properties"], schema["$defs"]
    lines = [NOTE, "", "# Site file", ""]
    lines += ["One TOML file says which devices there are, who may write and where the server listens."]
    lines += [
        "`labioc check SITE` reports every mistake at once, `labioc schema` prints the JSON Schema behind this page,"
    ]
    lines += ["which editors use to complete and underline. Unknown keys are mistakes. A commented example is"]
    lines += ["[examples/site.toml](../../examples/site.toml); a walk through is [how to write a site file]"
              "(../how-to/write-a-site-file.md).", ""]  # fmt: skip
    for name in ("site", "server", "access"):
        lines += [f"## `[{name}]`", "", *key_table(top[name])]
    lines += ["## `[can.NAME]`", "", top["can"]["description"] + ".", ""]
    lines += ["`interface` is needed; the other keys go to the python-can interface of that name.", ""]
    for name, family in ((one.type, one) for one in built_in()):
        lines += [
            f'## `[[device]]` with `type = "{name}"`',
            "",
            *key_table({**definitions[name], "description": family.title}),
        ]
    lines += ['## `[[device]]` with `type = "caproto"`', "", *key_table(definitions["caproto"])]
    lines += channel_sections(definitions)
    group = top["group"]["items"]
    members = group["properties"]["member"]
    member = {**members["additionalProperties"], "description": members["description"]}
    lines += ["## `[[group]]`", "", top["group"]["description"] + ": [how to](../how-to/groups.md).", ""]
    lines += key_table(group)
    lines += ["### `[group.member.NAME]`", "", *key_table(member)]
    lines += ["### `[[group.neighbours]]`", "", *key_table(group["properties"]["neighbours"]["items"])]
    about = top["interlock"]["description"]
    lines += ["## `[[interlock]]`", "", f"{about}: [how to](../how-to/interlocks.md).", ""]
    lines += key_table(top["interlock"]["items"])
    lines += ["## `[archiver]`", "", *key_table(top["archiver"])]
    lines += ["### `[[archiver.influxdb]]`", "", *key_table(top["archiver"]["properties"]["influxdb"]["items"])]
    return "\n".join(lines)


def channel_sections(definitions: Mapping[str, Any]) -> list[str]:
    """Return the parts about channels, limits and alarms, which are the same for every family with channels."""
    channels = next(
        schema["properties"]["channel"] for schema in definitions.values() if "channel" in schema.get("properties", {})
    )
    (channel,) = channels["patternProperties"].values()
    limits, alarms = definitions["limits"], definitions["alarms"]
    fields = ", ".join(f"`{name}`" for name in alarms["additionalProperties"]["properties"])
    return [
        "## `[device.channel.N]`", "", channels["description"] + ".", "", *key_table(channel),
        "## `limits`", "", limits["description"] + ".", "",
        "The limit in force is the tightest of the device's own, that of the device section and that of the channel.",
        "It is shown as `:HI` and `:LO` of the setting and as its control limits. A put outside is refused.", "",
        "## `alarms`", "", alarms["description"] + ".", "",
        f"Fields: {fields}. Which of them a signal has depends on its record type.", "",
    ]  # fmt: skip


# ---- command line


def commands(
    parser: argparse.ArgumentParser, words: str = "labioc"
) -> Iterator[tuple[str, argparse.ArgumentParser, str]]:
    """Yield every sub-command that does something: its words, its parser, its help."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, sub in action.choices.items():
                below = list(commands(sub, f"{words} {name}"))
                yield from below or [(f"{words} {name}", sub, helps.get(name, ""))]


def argument_row(action: argparse.Action) -> tuple[str, str]:
    """One line of the table of a command."""
    value = str(action.metavar or "")
    if action.option_strings:
        name = ", ".join(f"`{option} {value}`" if value else f"`{option}`" for option in action.option_strings)
        if action.choices is not None and not value:
            name = f"`{action.option_strings[-1]} {'|'.join(map(str, action.choices))}`"
    else:
        name = f"`{value or action.dest}`"
    return name, (action.help or "").replace("%(default)s", str(action.default))


def command_line_page() -> str:
    """Return the page about the command line."""
    lines = [NOTE, "", "# Command line", ""]
    lines += [
        "Exit status: 0 ok, 1 failed, 2 wrong usage or site file, 130 ended by Ctrl-C, which is an ordinary end (0) for"
    ]
    lines += [
        "what runs until then. What is asked for goes to standard output; logs go to standard error, one line per"
    ]
    lines += ["event. `labioc --version` prints the release.", ""]
    for words, parser, about in commands(commandline.parser()):
        hidden = argparse._HelpAction
        arguments = [
            action for action in parser._actions if not isinstance(action, hidden) and action.help != argparse.SUPPRESS
        ]
        places = [str(action.metavar or action.dest) for action in arguments if not action.option_strings]
        lines += [f"## `{' '.join([words, *places])}`", "", about[:1].upper() + about[1:] + ".", ""]
        if arguments:
            lines += table(("argument", "meaning"), map(argument_row, arguments))
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Write the pages, or with --check only compare them."""
    if arguments[:1] == ["--family"] and len(arguments) == 2:
        print(family_page(FAMILIES[arguments[1]]))
        return 0
    stale = []
    found = pages()
    for name, text in [*found.items(), ("../README.md", "")]:
        path = FOLDER / name
        wanted = text or index_page(found)
        if not path.exists() or path.read_text(encoding="utf-8") != wanted:
            stale.append(path.resolve().relative_to(INDEX.parents[1]))
            if "--check" not in arguments:
                path.write_text(wanted, encoding="utf-8")
    for name in stale:
        print(f"{name}: {'out of date' if '--check' in arguments else 'written'}")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
