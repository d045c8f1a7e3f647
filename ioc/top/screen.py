"""The screen of ``labioc top``: tables, a pane with all PVs and the trend of the chosen row, and questions."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from typing import ClassVar, Final

from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.css.query import NoMatches
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, Input, Label, Static, TabbedContent, TabPane
from textual.widgets.data_table import ColumnKey
from textual.worker import Worker

from archiver.history.plot import terminal as draw
from ioc.client import Channel, Client, PutError, ReadError, Reading, reason_of
from ioc.client.reading import duration
from ioc.records.status import INVALID
from ioc.top.board import UNKNOWN, Board, Cell, in_order
from ioc.top.rows import ALARM, NAME, TREND, Row, Table

PERIOD: Final = 0.5
"""Seconds between two drawings."""

ORDER_PERIOD: Final = 2.0
"""Seconds between two looks at which rows are shown, and in which order; a key is followed at once."""

SPARK_SECONDS: Final = 120.0
SPARK_WIDTH: Final = 16
TREND_SECONDS: Final = 600.0
PUT_SECONDS: Final = 30.0
READ_SECONDS: Final = 3.0

_STYLES: Final = ("", "yellow", "bold red", "magenta", "dim")
"""Of NO_ALARM, MINOR, MAJOR, INVALID and what is not connected."""

_ALIAS: Final = "alias"


class Confirm(ModalScreen[bool]):
    """A question that only y answers with yes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", "Yes"),
        Binding("n,escape,enter,q", "dismiss(False)", "No"),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        """Show the question."""
        yield Label(Text(f"{self._question}\n\ny: yes    any of n, Enter, Esc: no"), id="question")


class AskValue(ModalScreen[str | None]):
    """Ask for the value of a setting; Esc gives up."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Give up")]

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title = title

    def compose(self) -> ComposeResult:
        """Show the question with room for the answer."""
        with Vertical(id="question"):
            yield Label(Text(self._title))
            yield Input(placeholder="new value; Enter goes on, Esc gives up")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Take the answer."""
        self.dismiss(event.value.strip() or None)


class Top(App[None]):
    """The tables of a site; ``env`` is the environment in which PVs are searched."""

    TITLE = "labioc top"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #summary { height: 1; background: $panel; }
    TabbedContent { height: 2fr; }
    #filter { display: none; height: 3; }
    #detail { height: 1fr; border-top: solid $primary; }
    #trend { width: 3fr; height: 100%; }
    #detail VerticalScroll { width: 2fr; }
    Confirm, AskValue { align: center middle; }
    #question { width: auto; max-width: 90%; min-width: 50; height: auto; padding: 1 2; border: thick $warning;
                background: $surface; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("s", "sort", "Sort"),
        Binding("r", "reverse", "Reverse"),
        Binding("slash", "filter", "Filter"),
        Binding("a", "alarms", "Alarms only"),
        Binding("v", "set_value", "Set"),
        Binding("o", "switch", "On/off"),
        *(Binding(f"{number}", f"tab({number})", show=False) for number in (1, 2, 3)),
    ]

    def __init__(self, title: str, tables: Sequence[Table], env: Mapping[str, str]) -> None:
        super().__init__()
        self._site = title
        self._tables = {f"table{number}": table for number, table in enumerate(tables, 1)}
        self._rows = [row for table in tables for row in table.rows]
        self._board = Board(self._rows)
        self._client = Client(env)
        self._stack = AsyncExitStack()
        self._sorted: dict[str, tuple[str, bool]] = dict.fromkeys(self._tables, (NAME, False))
        self._shown: dict[str, list[str]] = {}
        self._order: list[Row] = []
        self._order_due = 0.0
        self._drawn = ""
        """The table that was drawn last: what has changed since is known of that one only."""
        self._filter = ""
        self._alarms_only = False
        self._detailed: Row | None = None
        self._reading: Worker[None] | None = None

    def compose(self) -> ComposeResult:
        """Make summary, tables, filter and details."""
        yield Static(id="summary")
        with TabbedContent():
            for key, table in self._tables.items():
                with TabPane(f"{key[-1]} {table.title}", id=f"pane-{key}"):
                    yield DataTable(id=key, cursor_type="row", zebra_stripes=True)
        yield Input(placeholder="show rows with this text in name, alias or a value; Esc shows all", id="filter")
        with Horizontal(id="detail"):
            yield Static(id="trend")
            with VerticalScroll(can_focus=False):
                yield Static(id="values")
        yield Footer()

    async def on_mount(self) -> None:
        """Connect, and begin to draw. Raises OSError when there is no socket to be had."""
        await self._stack.enter_async_context(self._client)
        for key, table in self._tables.items():
            widget = self._widget(key)
            for column in self._columns(table):
                widget.add_column(column, key=column)
        for channel in self._client.channels(dict.fromkeys(pv for row in self._rows for pv in row.pvs() if pv)):
            channel.monitor(self._take)
        self._draw()
        self.set_interval(PERIOD, self._draw)
        self.set_interval(2 * PERIOD, self._read_details)
        self._widget(self._key).focus()

    async def on_unmount(self) -> None:
        """Close all connections."""
        await self._stack.aclose()

    def _take(self, channel: Channel, reading: Reading | None) -> None:
        self._board.take(channel.name, reading, time.time())

    # ---- what is shown

    @property
    def _key(self) -> str:
        """The table that is in front."""
        return str(self.query_one(TabbedContent).active).removeprefix("pane-")

    @property
    def chosen(self) -> Row | None:
        """The row with the cursor."""
        shown, place = self._shown.get(self._key, []), self._widget(self._key).cursor_row
        if not 0 <= place < len(shown):
            return None
        return next(row for row in self._tables[self._key].rows if row.name == shown[place])

    def _widget(self, key: str) -> DataTable[Text]:
        return self.query_one(f"#{key}", DataTable)

    @staticmethod
    def _columns(table: Table) -> list[str]:
        return [NAME, *([_ALIAS] if table.with_alias else []), *table.columns, ALARM, TREND]

    def _draw(self) -> None:
        """Draw what has changed."""
        with suppress(NoMatches):  # while the screen is taken down at the end
            self._draw_all(time.time())

    def _arrange(self) -> None:
        """Draw after a change of what is to be shown."""
        self._order_due = 0.0
        self._draw()

    def _draw_all(self, now: float) -> None:
        self._draw_table(self._key, now)
        self._board.changed.clear()
        table = self._tables[self._key]
        column, backwards = self._sorted[self._key]
        parts = [self._site, f"{time.strftime('%H:%M:%S')}", self._board.summary(table.rows)]
        parts.append(f"sorted by {column}{', backwards' if backwards else ''}")
        parts += [f"only rows with {self._filter!r}"] if self._filter else []
        parts += ["only alarms"] if self._alarms_only else []
        self.query_one("#summary", Static).update(Text("   ".join(parts)))
        self._draw_trend(now)

    def _draw_table(self, key: str, now: float) -> None:
        table, board, widget = self._tables[key], self._board, self._widget(key)
        if now >= self._order_due or key != self._drawn:
            self._order_due = now + ORDER_PERIOD
            self._order = [row for row in in_order(board, table.rows, *self._sorted[key]) if self._wanted(row)]
        rows = self._order
        names = [row.name for row in rows]
        if names != self._shown.get(key):
            chosen = self.chosen if key == self._key else None
            widget.clear()
            for row in rows:
                widget.add_row(*(self._text(row, column, now) for column in self._columns(table)), key=row.name)
            self._shown[key] = names
            if chosen is not None and chosen.name in names:
                widget.move_cursor(row=names.index(chosen.name))
        else:
            top = int(widget.scroll_y)
            visible = set(names[top : top + widget.size.height])
            for row in rows:
                columns = self._columns(table)[:-1] if key != self._drawn or board.has_changed(row) else []
                for column in [*columns, *([TREND] if row.name in visible else [])]:
                    _update(widget, row.name, column, self._text(row, column, now))
        self._drawn = key

    def _text(self, row: Row, column: str, now: float) -> Text:
        if column == TREND:
            return Text(self._board.spark(row.trend, now, SPARK_SECONDS, SPARK_WIDTH))
        cell = Cell(row.alias) if column == _ALIAS else self._board.cell(row, column)
        return Text(cell.text, style=_STYLES[cell.severity])

    def _wanted(self, row: Row) -> bool:
        if self._alarms_only and not self._board.severity(row):
            return False
        texts = [row.name, row.alias, *(self._board.show(pv).text for pv in row.cells.values())]
        return not self._filter or any(self._filter.lower() in text.lower() for text in texts)

    def _draw_trend(self, now: float) -> None:
        row, widget = self.chosen, self.query_one("#trend", Static)
        if row is None:
            widget.update("")
            return
        size = widget.content_size
        if size.height >= 5 and size.width >= 20:
            value = self._board.show(row.trend)
            seconds = min(max(self._board.known_seconds(row.trend, now), SPARK_SECONDS / 2), TREND_SECONDS)
            title = f"{row.trend} = {value.text}, the last {duration(seconds)}"
            parts = self._board.segments(row.trend, now, seconds)
            widget.update(Text(draw(title, parts, size.width - 1, size.height - 2)))

    def _read_details(self) -> None:
        """Read all PVs of the chosen row, those that change and those that do not, unless that is under way."""
        with suppress(NoMatches):
            row = self.chosen
            if self._reading is None or self._reading.is_finished or row is not self._detailed:
                self._detailed, self._reading = row, self._show_details(row, self.query_one("#values", Static))

    @work(exclusive=True, group="details")
    async def _show_details(self, row: Row | None, widget: Static) -> None:
        if row is None:
            widget.update("")
            return
        shown, channels = Text(), await self._client.connect(row.details, READ_SECONDS)
        for channel, reading in zip(channels, await self._client.read(channels, READ_SECONDS), strict=True):
            if isinstance(reading, ReadError):
                cell = Cell(str(reading), UNKNOWN)
            else:
                cell = Cell(f"{reading.quantity}  {reading.alarm}".rstrip(), reading.severity)
            short = channel.name.removeprefix(f"{self._site}:")
            shown.append(f"{short:<24} {cell.text}\n", style=_STYLES[cell.severity])
        with suppress(NoMatches):  # while the screen is taken down at the end
            if self.chosen is row:
                widget.update(shown)

    # ---- keys

    def action_tab(self, number: int) -> None:
        """Show a table."""
        key = f"table{number}"
        if key in self._tables:
            self.query_one(TabbedContent).active = f"pane-{key}"
            self._widget(key).focus()

    def action_sort(self) -> None:
        """Sort by the next column."""
        table = self._tables[self._key]
        columns = [NAME, ALARM, *table.columns]
        column, _ = self._sorted[self._key]
        self._sorted[self._key] = columns[(columns.index(column) + 1) % len(columns)], False
        self._arrange()

    def action_reverse(self) -> None:
        """Sort the other way round."""
        column, backwards = self._sorted[self._key]
        self._sorted[self._key] = column, not backwards
        self._arrange()

    def action_alarms(self) -> None:
        """Show only what is in alarm, or everything."""
        self._alarms_only = not self._alarms_only
        self._arrange()

    def action_filter(self) -> None:
        """Ask for a text that rows must have."""
        field = self.query_one("#filter", Input)
        field.display = True
        field.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while it is typed."""
        if event.input.id == "filter":
            self._filter = event.value.strip()
            self._arrange()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Go back to the table."""
        if event.input.id == "filter":
            event.input.display = bool(self._filter)
            self._widget(self._key).focus()

    def key_escape(self) -> None:
        """Show all rows again."""
        field = self.query_one("#filter", Input)
        field.value, field.display = "", False
        self._widget(self._key).focus()

    @work(group="put")
    async def action_set_value(self) -> None:
        """Ask for a new value of the setting of the chosen row, ask again, then put it."""
        row = self.chosen
        if row is None or not row.setting:
            self.notify("this row has no setting", severity="warning")
            return
        now = self._board.show(row.setting).text
        value = await self.push_screen_wait(AskValue(f"{row.setting} is {now}"))
        if value is not None:
            await self._put(row, row.setting, value)

    @work(group="put")
    async def action_switch(self) -> None:
        """Ask whether to switch the chosen channel, then do so."""
        row = self.chosen
        if row is None or not row.switch:
            self.notify("this row cannot be switched", severity="warning")
            return
        cell = self._board.show(row.switch)
        is_off = cell.text == "OFF" and cell.severity < INVALID  # what is not known is never switched on
        await self._put(row, row.switch, "ON" if is_off else "OFF")

    async def _put(self, row: Row, pv: str, value: str) -> None:
        """Put after a question, and say what came of it."""
        now = self._board.show(pv).text
        title = f"{row.name} ({row.alias})" if row.alias else row.name
        if not await self.push_screen_wait(Confirm(f"{title}: put {value} to {pv}, which is {now}?")):
            self.notify("nothing was written")
            return
        (channel,) = await self._client.connect([pv], READ_SECONDS)
        try:
            await channel.put(value, PUT_SECONDS)
        except PutError as error:
            reason = await reason_of(self._client, channel, READ_SECONDS) if error.answered else None
            text = str(error) if error.unknown else f"refused: {reason or error}"
            self.notify(f"{pv}: {text}", severity="error", timeout=15, markup=False)
        else:
            self.notify(f"{pv}: {value} is set", markup=False)


def _update(widget: DataTable[Text], row: str, column: str, text: Text) -> None:
    """Show a cell anew if it has changed; columns only grow, since to find the widest cell takes a look at each."""
    old = widget.get_cell(row, column)
    if (old.plain, old.style) != (text.plain, text.style):
        wider = text.cell_len > widget.columns[ColumnKey(column)].content_width
        widget.update_cell(row, column, text, update_width=wider)
