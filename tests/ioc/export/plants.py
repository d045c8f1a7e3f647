"""A site with everything that exports are made for: two CAEN supplies, four Iseg modules, two furnaces."""

from __future__ import annotations

import tomllib

from ioc.export.plant import Plant
from ioc.site.config import parse_site

HEAD = """
[site]
prefix = "LAB"
[can.main]
interface = "virtual"
"""
_CAEN = """
[[device]]
name = "HV{0}"
type = "caen-dt55xx"
address = "tcp://127.0.0.1:{0}"
{more}
channel.0.alias = "CALO{0}:PMT07"
channel.1.alias = "CALO{0}:A_NAME_AS_LONG_AS_THEY_GET"
"""
_ISEG = """
[[device]]
name = "ISEG{0}"
type = "iseg-edcp"
can = "main"
module = {0}
{more}
"""
_FURNACE = """
[[device]]
name = "FURN{0}"
type = "eurotherm-3200"
address = "serial:///dev/ttyUSB{0}"
safe_temperature = 20
{more}
"""


def site_file(more: str = "", head: str = HEAD) -> str:
    """Return the text of the site file; ``more`` are lines for each device."""
    units = [(_CAEN, 1), (_CAEN, 2), *((_ISEG, n) for n in range(1, 5)), (_FURNACE, 1), (_FURNACE, 2)]
    return head + "".join(text.format(number, more=more) for text, number in units)


def plant(head: str = HEAD) -> Plant:
    """Return the plant of the site."""
    return Plant.build([parse_site(tomllib.loads(site_file(head=head)))])
