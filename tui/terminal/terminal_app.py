"""An application that writes only what changes."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from rich.console import RenderableType
from textual import events
from textual._compositor import CompositorUpdate
from textual.app import App
from textual.driver import Driver
from textual.message_pump import MessagePump
from textual.screen import Screen

from tui.terminal.output import Output, is_writable, knows
from tui.terminal.typed_ahead import Arrived, TypedAhead

_LOOK_AGAIN_SECONDS: Final = 0.02
"""How soon a terminal that did not read is asked again whether it does."""
_LOST_SECONDS: Final = 0.5
"""After how long a key counts as handled that has vanished with the widget it was sent to."""


class TerminalApp(App[int], inherit_bindings=False):
    """Has an `Output` between its compositor and its driver, and a terminal of its own.

    Textual has no public place for either: `_display` is where a composed frame meets the driver.
    """

    def __init__(self, *, diff: bool = True) -> None:
        """Without `diff` Textual's own frames are written."""
        super().__init__()
        self._output = Output(self._terminal_reads) if diff else None
        self._will_look_again = False
        self._typed = TypedAhead()

    async def on_event(self, event: events.Event) -> None:
        """Handle one key at a time, see `tui.terminal.typed_ahead`."""
        if not isinstance(event, (events.Key, events.Paste)) or event.is_forwarded:
            await super().on_event(event)
            return
        self._typed.wait(event)
        await self._forward_typed()

    async def on_arrived(self, message: Arrived) -> None:
        """Forward the next key."""
        self._typed.arrived(message.number)
        await self._forward_typed()

    async def _forward_typed(self) -> None:
        while self.screen_stack and (event := self._typed.next()) is not None:
            target = self.focused or self.screen
            before = self.screen
            await super().on_event(event)
            if event.is_forwarded and self.screen is before:
                self._send_after(target)
        overdue = self._typed.waited_for()
        if overdue is not None:
            self.set_timer(_LOST_SECONDS, partial(self.post_message, overdue))

    def _send_after(self, target: MessagePump) -> None:
        follower = self._typed.sent()
        if not target.post_message(follower):
            self.post_message(follower)

    def _follow_screen(self, screen: Screen[Any]) -> None:
        """Let what is typed wait until a screen that has come to the top has its focus."""
        self._send_after(screen)

    def get_driver_class(self) -> type[Driver]:
        """Return a driver that keeps other code's output off the screen, where there is one."""
        usual = super().get_driver_class()
        if usual.__name__ != "LinuxDriver":
            return usual
        from tui.terminal.driver import TerminalDriver

        return TerminalDriver

    def redraw(self) -> None:
        """Write every cell again: the terminal may show something else."""
        if self._output is None:
            self.screen.refresh(layout=True)
        else:
            self._output.forget()
            self._write()

    def foreign_lines(self) -> list[str]:
        """Return the last lines that other code wrote to the standard streams meanwhile."""
        lines: list[str] = getattr(self._driver, "foreign_lines", [])
        return lines

    def on_mount(self) -> None:
        """Redraw after a suspension: the terminal still shows the shell's output."""
        if not self.is_running:
            return  # left before it was there
        self.app_resume_signal.subscribe(self, lambda _: self.redraw())
        self.screen_change_signal.subscribe(self, self._follow_screen, immediate=True)

    def on_resize(self, event: events.Resize) -> None:
        """Redraw a terminal that was resized twice and has its old size again: Textual composes
        nothing then, but the terminal may have cut or moved what it showed."""
        if self._output is not None and self._output.size == event.size:
            self._output.forget()
            self._write_later()

    def _display(self, screen: Screen[Any], renderable: RenderableType | None) -> None:
        output = self._output
        if output is None or renderable is None or self._batch_count or self.is_headless:
            super()._display(screen, renderable)
        elif isinstance(renderable, CompositorUpdate) and knows(renderable):
            output.compose(renderable, self.size, self.console)
            self._write()
        else:
            super()._display(screen, renderable)
            output.forget()

    def _write(self) -> None:
        """Write what has changed, or look again later: in a batch Textual writes nothing."""
        assert self._output is not None
        if not self._batch_count:
            patch = self._output.patch()
            if patch is not None:
                super()._display(self.screen, patch)  # type: ignore[arg-type]
        if self._output.is_behind:
            self._write_later()

    def _write_later(self) -> None:
        if not self._will_look_again:
            self._will_look_again = True
            self.set_timer(_LOOK_AGAIN_SECONDS, self._look_again)

    def _look_again(self) -> None:
        self._will_look_again = False
        self._write()

    def _terminal_reads(self) -> bool:
        terminal = getattr(self._driver, "terminal", None)
        return terminal is None or is_writable(terminal)
