"""The lower slot of the main screen, which holds the views that the registry places there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

from textual.screen import Screen
from textual.widget import AwaitMount, Widget

from tui.state.run_view import RunView
from tui.views.registry import LOWER, Slot
from tui.views.table.lens_table import LensTable
from tui.widgets.captions import put_title
from tui.widgets.places import FollowsPlace
from tui.widgets.view_context import FollowsTable, ViewContext

_PLACE: Final = "#reading"


class LowerSlot:
    """Opens and closes the views of the lower slot; each is constructed when it is first opened.

    CSS classes control the layout: of the views (-on: opened by the user; -auto: open where it
    fits) and of the screen (-lower: the user has opened a view; -shared: a view that replaces
    others is open; -enlarged: a view takes most of the column).
    """

    def __init__(
        self, screen: Screen[Any], context: ViewContext, arrange: Callable[[], object]
    ) -> None:
        """`arrange` lays out the column after a view was opened, closed or enlarged."""
        self._screen = screen
        self._arrange = arrange
        self._context = context
        self._views: dict[str, Widget] = {}
        self._large = ""
        self._was_open = False
        self._shown: tuple[RunView | None, int] = (None, 0)
        self._place = (0, False)

    def at_start(self) -> list[Widget]:
        """Return the views that exist from the first frame on."""
        started = [view.id for view in LOWER.values() if view.at_start]
        return [self._make(identity).add_class("-auto") for identity in started]

    def view(self, identity: str) -> Any:
        """Return the widget of a view that has been opened before, or None."""
        return self._views.get(identity)

    def is_open(self, identity: str) -> bool:
        """Return whether a view is visible."""
        view = self._views.get(identity)
        if view is None:
            return False
        return view.has_class("-on") if not view.has_class("-auto") else view.display

    @property
    def fills(self) -> bool:
        """Whether a view is open that can be as high as the table leaves room for."""
        opened = (view.has_class("-on") or view.has_class("-auto") for view in self._views.values())
        return not self._large and any(opened)

    @property
    def open(self) -> list[Widget]:
        """The visible views."""
        return [view for view in self._views.values() if view.display and view.is_mounted]

    def toggle(self, identity: str) -> None:
        """Open a view, closing those with which it cannot share the slot; or close it."""
        wanted = not self.is_open(identity)
        self._be_small()
        self._put(identity, wanted)

    def toggle_large(self, identity: str) -> None:
        """Enlarge a view to most of the column, or shrink it again."""
        if self._large == identity:
            self._be_small()
            self._put(identity, self._was_open)
            return
        self._was_open = self.is_open(identity)
        self._be_small()
        self._put(identity, True)
        self._large = identity
        self._views[identity].add_class("-large")
        self._screen.add_class("-enlarged")
        self._arrange()

    def show(self, run: RunView | None, row: int) -> None:
        """Show this run and row in every view that is visible, or will be on a larger screen."""
        self._shown = (run, row)
        for view in self._views.values():
            if view.is_mounted and (view.display or view.has_class("-auto")):
                cast(FollowsTable, view).show(run, row)

    def put_place(self, position: int, *, unfolded: bool) -> None:
        """Mark a position in every visible view that shows positions."""
        self._place = (position, unfolded)
        for view in self.open:
            if isinstance(view, FollowsPlace):
                view.put_place(position, unfolded=unfolded)

    def is_large(self, identity: str) -> bool:
        """Return whether a view is enlarged."""
        return self._large == identity

    @property
    def large(self) -> str:
        """The enlarged view, or nothing."""
        return self._large

    def close_tenants(self) -> bool:
        """Close the view that replaces others; return whether one was open."""
        opened = [known for known in self._tenants() if self.is_open(known)]
        for known in opened:
            self._put(known, False)
        return bool(opened)

    def _put(self, identity: str, wanted: bool) -> None:
        if identity not in self._views:
            mounted = self._screen.query_one(_PLACE).mount(self._make(identity))
            self._screen.call_next(self._begin, identity, mounted)
        if wanted and LOWER[identity].slot is Slot.LOWER:
            for other in self._tenants():
                self._views[other].remove_class("-on")
        view = self._views[identity]
        view.remove_class("-auto").set_class(wanted, "-on")
        self._screen.set_class(any(v.has_class("-on") for v in self._views.values()), "-lower")
        self._screen.set_class(
            any(self._views[other].has_class("-on") for other in self._tenants()), "-shared"
        )
        self._arrange()
        if view.can_focus and wanted and view.is_mounted:
            self._screen.set_focus(view)
        elif view.has_focus:
            self._screen.set_focus(self._screen.query_one(LensTable))

    async def _begin(self, identity: str, mounted: AwaitMount) -> None:
        """Show the current run in a new view, and focus it if it has a cursor."""
        await mounted
        view = self._views[identity]
        cast(FollowsTable, view).show(*self._shown)
        if isinstance(view, FollowsPlace):
            view.put_place(self._place[0], unfolded=self._place[1])
        if view.can_focus and view.has_class("-on"):
            self._screen.set_focus(view)

    def _be_small(self) -> None:
        self._screen.remove_class("-enlarged")
        if self._large:
            self._views[self._large].remove_class("-large")
            self._large = ""

    def _tenants(self) -> list[str]:
        return [known for known in self._views if LOWER[known].slot is Slot.LOWER]

    def _make(self, identity: str) -> Widget:
        view = LOWER[identity]
        made = view.factory
        widget: Widget = (
            made(self._context) if view.method is None else made(self._context, view.method)
        )
        widget.id = identity
        widget.add_class("lower").set_class(view.slot is Slot.BESIDE, "-beside")
        put_title(widget, view.title)
        self._views[identity] = widget
        return widget
