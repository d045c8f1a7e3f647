"""What a parser of lark found and what it would have taken, in words."""

from __future__ import annotations

from lark.exceptions import UnexpectedInput, UnexpectedToken

_SHOWN = {
    "STRING": "a quoted string",
    "QUOTED": "a quoted string",
    "BARE": "a word",
    "LOOSE": "a word",
    "NAME": "a name",
    "INTEGER": "a whole number",
    "FLOAT": "a number",
    "INP": "INPA to INPU",
    "LPAR": "'('",
    "RPAR": "')'",
    "LBRACE": "'{'",
    "RBRACE": "'}'",
    "COMMA": "','",
    "EQUAL": "'='",
    "$END": "the end of the file",
    **{keyword: keyword for keyword in ("UAG", "HAG", "ASG", "RULE", "CALC")},
}


def where(error: UnexpectedInput, text: str) -> str:
    """Say line, column, what was found and what the grammar wants there."""
    if isinstance(error, UnexpectedToken):
        found = "end of file" if error.token.type == "$END" else repr(str(error.token))
        wanted = error.accepts or error.expected
    else:
        found, wanted = repr(text[error.pos_in_stream or 0]), getattr(error, "allowed", None) or set()
    at_end = found == "end of file"
    line = text.count("\n") + 1 if at_end else error.line
    names = sorted({_SHOWN.get(name, name.lower()) for name in wanted if name not in {"COMMENT", "WHITE"}})
    return f"{line}:{'' if at_end else f' column {error.column}:'} found {found}, expected {' or '.join(names)}"
