"""The caproto PVGroups of a site: which classes, and what they are made with."""

from __future__ import annotations

from collections.abc import Iterator
from pkgutil import resolve_name

from caproto import AccessRights, ChannelType
from caproto.server import PVGroup

from ioc.database.dbfile import RecordDef
from ioc.pvgroups.settings import GroupSettings

_OUTPUTS = {
    ChannelType.ENUM: "mbbo",
    ChannelType.STRING: "stringout",
    ChannelType.CHAR: "lso",
    ChannelType.INT: "longout",
    ChannelType.LONG: "longout",
    ChannelType.FLOAT: "ao",
    ChannelType.DOUBLE: "ao",
}
_INPUTS = {"mbbo": "mbbi", "stringout": "stringin", "lso": "lsi", "longout": "longin", "ao": "ai"}


def find_class(group: str) -> type[PVGroup]:
    """Return the class of a group. Raises ValueError saying why it cannot be used."""
    try:
        found = resolve_name(group)
    except Exception as error:  # importing a module may raise anything
        raise ValueError(f"{type(error).__name__}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, PVGroup)):
        raise ValueError("it is not a PVGroup of caproto")
    return found


def make_group(settings: GroupSettings) -> PVGroup:
    """Make a group. Raises ValueError saying why it cannot be made."""
    try:
        return find_class(settings.group)(settings.prefix, **settings.arguments)
    except ValueError as error:
        raise ValueError(f"{settings.name}: group {settings.group}: {error}") from error
    except Exception as error:  # its constructor may raise anything
        raise ValueError(f"{settings.name}: group {settings.group}: {type(error).__name__}: {error}") from error


def definitions(settings: GroupSettings) -> Iterator[RecordDef]:
    """Yield what the lists of PVs and the archiver have to know of a group, in the form of records."""
    for name, channel in make_group(settings).pvdb.items():
        rtyp = _OUTPUTS.get(channel.data_type, "ao")
        if read_only := AccessRights.WRITE not in channel.check_access("", ""):
            rtyp = _INPUTS[rtyp]
        fields = {"DESC": str(getattr(channel, "__doc__", "") or "").strip().partition("\n")[0][:40]}
        fields |= {key: str(value) for key, value in (("EGU", getattr(channel, "units", "")),) if value}
        info = {"access": "R" if read_only else "O", "archive": "monitor" if channel.max_length == 1 else "-"}
        yield RecordDef(name, rtyp, fields, info, (), settings.group, 0, {})
