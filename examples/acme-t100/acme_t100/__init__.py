"""The Acme T100 thermometer, which holds a bath at its setpoint."""

from pathlib import Path

from devices.simple import Line, text_family

FAMILY = text_family(
    type="acme-t100",
    title="Acme T100 thermometer",
    template=str(Path(__file__).with_name("t100.substitutions")),
    example={"name": "BATH", "address": "tcp://192.168.1.60:5025"},
    rows=[
        Line("IDN", ask="*IDN?", text=True, simulated="ACME T100 1234"),
        Line("TEMP", ask="T?", answer="T {} C", unit="C", decimals=2, no_reading=("OPEN",), simulated=20, follows="SP"),
        Line("SP", ask="SP?", answer="SP {} C", send="SP {}", unit="C", decimals=1, limits=(5, 95), simulated=25.0),
        Line("STIR", ask="ST?", answer="ST {}", send="ST {}", labels=("OFF", "ON"), words=("0", "1")),
    ],
)
