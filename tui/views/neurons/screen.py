"""Which neurons wrote the answer: the units of the MLPs with the largest shares, the words that
each pushes, and what setting it to zero does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.timer import Timer

from engine.events import Event
from engine.methods.neurons import NeuronsPart, NeuronsReading, NeuronsRequest
from tui.state.explained import KEYS, STOPPED, Explained
from tui.state.run_view import RunView
from tui.text.show import display_text
from tui.views.neurons import saying
from tui.views.neurons.asking import AskingNeurons
from tui.views.neurons.looking import Looking
from tui.views.neurons.unit_list import UnitList, UnitsShown
from tui.views.reading_screen import STEPS, ReadingScreen
from tui.views.strip.strip import PromptStrip
from tui.widgets.captions import put_subtitle, put_title
from tui.widgets.led_rows import LedRows
from tui.widgets.legend import Legend, ScaleShown
from tui.widgets.places import PlaceChosen
from tui.widgets.share_panel import SharePanel, ShareShown
from tui.widgets.view_context import ViewContext

_FOLLOW: Final = 0.1
"""Seconds for which the cursor must rest on a unit before its words are shown."""
_BORDER: Final = 6
"""Cells of a line in a border that are not its text."""
_KEYS: Final = (
    "jk unit", "f one layer", "() layer", "K sets to zero", "a all of them", "/ word", "+ more",
    "<> token", "Y copies", "enter goes there", "q closes",
)  # fmt: skip


class NeuronsScreen(ReadingScreen[AskingNeurons]):
    """Shows the units that wrote a logit at one position of a run."""

    VIEW: ClassVar[str] = "neurons"
    DEFAULT_CSS = """
    NeuronsScreen { background: $background; }
    NeuronsScreen UnitList, NeuronsScreen SharePanel {
        width: 100%; border: round $frame; border-title-color: $faint;
        border-subtitle-color: $faint; background: $background;
    }
    NeuronsScreen UnitList { height: 1fr; }
    NeuronsScreen SharePanel { height: 6; }
    NeuronsScreen.-h-low SharePanel { height: 3; }
    NeuronsScreen Legend { height: 4; }
    NeuronsScreen.-ascii UnitList, NeuronsScreen.-ascii SharePanel { border: ascii $frame; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,9,1", "dismiss", show=False),
        Binding("j,down", "line(1)", show=False),
        Binding("k,up", "line(-1)", show=False),
        *STEPS,
        Binding("n", "line(1)", show=False),
        Binding("N", "line(-1)", show=False),
        Binding("less_than_sign", "walk(-1)", show=False),
        Binding("greater_than_sign", "walk(1)", show=False),
        Binding("f,F", "one_layer", show=False),
        Binding("left_parenthesis", "layer(-1)", show=False),
        Binding("right_parenthesis", "layer(1)", show=False),
        Binding("plus,equals_sign", "more", show=False),
        Binding("K", "zero", show=False),
        Binding("a", "zero_all", show=False),
        Binding("slash,W", "words", show=False),
        Binding("Y", "copy", show=False),
    ]

    def __init__(
        self,
        run: RunView,
        row: int,
        position: int,
        context: ViewContext,
        *,
        unfolded: bool = False,
    ) -> None:
        """Look at the units of a position of a run; the layer that ends with a row is the one that
        is shown when there is to be one. `unfolded` says whether `<` and `>` walk over every
        patch."""
        super().__init__(AskingNeurons(run, context), context)
        self.looking = Looking(run, row, position)
        self._unfolded = unfolded
        self._following: Timer | None = None
        self.strip = PromptStrip(ascii_only=self._ascii)
        self.list = UnitList(ascii_only=self._ascii)
        self.panel = SharePanel(ascii_only=self._ascii)
        self.legend = Legend(_KEYS, ascii_only=self._ascii, marks=False)

    @property
    def reading(self) -> NeuronsReading | None:
        """The newest reading of what is shown."""
        return self.looking.reading

    def compose(self) -> ComposeResult:
        """Lay out the prompt, the units and the lines below."""
        yield self.strip
        yield self.list
        yield self.panel
        yield self.legend

    def on_mount(self) -> None:
        """Take what is known, and request what is not."""
        self.looking.take_stored()
        self._want()
        self.show()

    # ------------------------------------------------------------------ readings

    def _want(self) -> None:
        request = self.looking.missing()
        if request is not None:
            self._asking.look(request)

    def _want_soon(self) -> None:
        """Request what is shown and not known, once the keys rest."""
        self._once_it_rests(None if self.looking.missing() is None else self._want_now)

    def _want_now(self) -> None:
        self._want()
        self.show()

    def hear(self, events: Sequence[Event]) -> None:
        """Take what has been read of the run."""
        made = self._heard(events)
        for request, grown in self._asking.take_parts():
            if isinstance(request, NeuronsRequest) and isinstance(grown.part, NeuronsPart):
                self.looking.take_part(request, grown.part)
        for each in made:
            if isinstance(each.reading, NeuronsReading):
                self.looking.take(each.reading)
        if made:
            self._want()
        self.show()

    # ------------------------------------------------------------------ keys

    def action_line(self, step: int) -> None:
        """Go down or up by units."""
        self._go_to(self.looking.cursor + step)

    def action_edge(self, side: int) -> None:
        """Go to the first or the last unit."""
        self._go_to(0 if side < 0 else len(self.looking.units) - 1)

    def _go_to(self, index: int) -> None:
        """Show where the cursor is at once, and what it stands on once it rests: with a held key
        only the mark of the cursor is sent."""
        self.looking.go_to(index)
        self._note = ""
        self._show_units()
        if self._following is not None:
            self._following.stop()
        self._following = self.set_timer(_FOLLOW, self.show)

    def action_walk(self, step: int) -> None:
        """Look at the units of a later or an earlier token."""
        looking = self.looking
        spans = looking.run.spans(unfolded=self._unfolded)
        self._explain(looking.explained.at(spans.step(looking.explained.position, step)))

    def action_one_layer(self) -> None:
        """Show the units of the cursor's layer alone, or those of all layers again."""
        self.looking.show_one_layer(not self.looking.one_layer)
        self._chosen()

    def action_layer(self, step: int) -> None:
        """Show the units of the next layer alone, or of the one before."""
        self.looking.step_layer(step)
        self._chosen()

    def action_more(self) -> None:
        """Show twice as many units."""
        self._chosen("" if self.looking.show_more() else "there are no more units to show")

    def action_zero(self) -> None:
        """Set the units down to the one under the cursor to zero, each in a pass of its own;
        pressed again, stop that."""
        here = self.looking.here
        if here is not None and here.effect is not None:
            self._changed("this has been read")
        else:
            self._zero(self.looking.cursor + 1)

    def action_zero_all(self) -> None:
        """Set all units that are shown to zero, each in a pass of its own; pressed again, stop
        that."""
        self._zero(len(self.looking.units))

    def _zero(self, count: int) -> None:
        request = self.looking.zero_request(count)
        if self.looking.here is None:
            self._changed("there is no unit under the cursor")
        else:
            stopped = self._asking.ask_or_stop(request)
            self._changed(STOPPED if stopped else "")

    def action_words(self) -> None:
        """Ask which logit is to be explained."""
        of = self.looking.explained.of
        self.ask_words("which logit", KEYS, of, self._take_words, self._changed)

    def _take_words(self, of: tuple[str, ...]) -> None:
        self._explain(self.looking.explained.with_words(of))

    def action_choose(self) -> None:
        """Close, and show the position on the main screen, at the row after the unit's layer."""
        looking = self.looking
        self.app.post_message(PlaceChosen(looking.explained.position, looking.row))
        self.dismiss()

    def action_read_again(self) -> None:
        """Request again what was interrupted or refused."""
        lost = self._asking.forget_lost()
        self._want()
        for request in lost:
            if isinstance(request, NeuronsRequest) and self.looking.zeroes(request):
                self._asking.ask(request)
        self._changed()

    @on(PlaceChosen)
    def _token_clicked(self, message: PlaceChosen) -> None:
        message.stop()
        self._explain(self.looking.explained.at(message.position))

    def on_led_rows_picked(self, message: LedRows.Picked) -> None:
        """Go to the clicked unit."""
        message.stop()
        self._go_to(message.row)

    def _explain(self, explained: Explained) -> None:
        """Look at the units of another logit; what has been asked of the one before is
        cancelled."""
        if explained != self.looking.explained:
            self.looking.explain(explained)
            self._chosen()
        else:
            self._changed()

    def _chosen(self, note: str = "") -> None:
        """Show other units, as far as they are known; what has been asked of others is
        cancelled."""
        if self.looking.reading is None:
            self._asking.stop(NeuronsRequest)
            self._asking.forget_trouble(NeuronsRequest)
        self._want_soon()
        self._changed(note)

    def _changed(self, note: str = "") -> None:
        self._note = note
        self.show()

    # ------------------------------------------------------------------ showing

    def show(self) -> None:
        """Show everything as it is now; only what has changed is drawn again."""
        if not self.is_attached:
            return
        looking = self.looking
        self.strip.show(looking.run, looking.explained.position, unfolded=self._unfolded)
        self._show_units()
        self._put_captions()
        self._show_panel()
        self._show_legend()

    def _show_units(self) -> None:
        looking = self.looking
        self.list.show(UnitsShown(looking.units, looking.cursor, looking.failed))

    def _put_captions(self) -> None:
        looking = self.looking
        what = looking.explained.in_words(looking.of, ascii_only=self._ascii)
        where = f"layer {looking.layer}" if looking.one_layer else "all layers"
        put_title(self.list, self._cut(f"largest units of {where}, {what}"))
        put_subtitle(self.list, self._cut(saying.sum_words(looking)))

    def _cut(self, words: str) -> str:
        room = max(self.list.size.width + 2 - _BORDER, 1)
        return display_text(words, room, spaces=False, ascii_only=self._ascii).rstrip()

    def _show_panel(self) -> None:
        looking, unit = self.looking, self.looking.here
        if unit is None:
            words = saying.layer_words(looking, ascii_only=self._ascii)
            self.panel.show(ShareShown(words or self._asking.progress or "not read"))
            return
        effect, is_known = saying.effect_words(looking)
        if self._asking.waits_for(NeuronsRequest) and not is_known:
            effect = self._asking.progress
        more = saying.expert_words(looking)
        more = more or saying.layer_words(looking, ascii_only=self._ascii)
        self.panel.show(
            ShareShown(
                saying.share_words(looking, ascii_only=self._ascii),
                effect,
                is_known,
                unit.promotes,
                unit.suppresses,
                "it writes nothing here",
                (more,),
                looking.failed,
            )
        )

    def _show_legend(self) -> None:
        looking = self.looking
        unit = looking.here
        place = "" if unit is None else f"layer {unit.layer} unit {unit.index}"
        if self._asking.progress:
            place = f"{self._asking.progress}, {place}" if place else self._asking.progress
        scale = ScaleShown("units, the largest shares first", place=place)
        lines = (saying.layers_words(looking), "faint")
        self.legend.show(scale, lines, self._last_line())

    def _last_line(self) -> tuple[str, str]:
        if self._note:
            return (self._note, "good")
        if self._asking.trouble:
            return (self._asking.trouble, "error")
        if self.looking.failed:
            return (saying.sum_words(self.looking), "error")
        return (saying.MEANING, "faint")
