"""A host that speaks to one simulated module."""

from devices.iseg.edcp.bits import (
    ChannelEvent,
    ChannelStatus,
    ModuleStatus,
)
from devices.iseg.edcp.items import BY_NAME
from devices.iseg.edcp.protocol import (
    Data,
    decode,
    read,
    read_channels,
    write,
)
from devices.iseg.simulator.answers import respond
from devices.iseg.simulator.module import E16C1, SimulatedIsegModule
from devices.links.can_frame import Frame


class Host:
    """Speaks to one module by the names of items."""

    def __init__(self, firmware=E16C1, channels=4):
        self.module = SimulatedIsegModule(5, firmware, channels=channels)
        self.module.register(True)
        self.unasked: list[Frame] = []

    def get(self, name, index=None):
        values = [decode(one) for one in respond(self.module, read(5, BY_NAME[name], index))]
        assert all(isinstance(message, Data) for message in values)
        return values[0].value if values else None

    def all(self, name, members=0, offset=0):
        answers = respond(self.module, read_channels(5, BY_NAME[name], members, offset))
        return {message.index: message.value for message in map(decode, answers)}

    def set(self, name, value, index=None):
        self.unasked += respond(self.module, write(5, BY_NAME[name], value, index))

    def wait(self, seconds):
        self.unasked += self.module.step(seconds)

    def status(self, channel=0):
        return ChannelStatus(self.get("ChannelStatus", channel))

    def events(self, channel=0):
        return ChannelEvent(self.get("ChannelEventStatus", channel))

    def board(self):
        return ModuleStatus(self.get("ModuleStatus"))

    def switch(self, channel=0, on=True):
        self.set("ChannelControl", 8 * on, channel)
        return self.get("ChannelControl", channel) == 8

    def up(self, volts=500.0, channel=0):
        self.set("VoltageRampSpeed", 20.0)
        self.set("VoltageSet", volts, channel)
        assert self.switch(channel)
        self.wait(6.0)
