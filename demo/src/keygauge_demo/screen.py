"""What the demo shows: on a terminal a line that moves, elsewhere a plain line now and then."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn

from keygauge_demo.tally import Tally

PLAIN_EVERY_S = 5.0

Item = TypeVar("Item")


class Screen:
    """Writes to one console."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._is_plain = not self._console.is_terminal

    def say(self, text: str) -> None:
        """Write a line."""
        self._console.print(text, soft_wrap=True, markup=False)

    def complain(self, text: str) -> None:
        """Write a line about something that is wrong."""
        self._console.print(text, style="bold red", soft_wrap=True, markup=False)

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Show that something is being done, and how long it took."""
        started = time.monotonic()
        with self._console.status(text):
            yield
        self.say(f"{text} … {time.monotonic() - started:.1f} s")

    def track(self, text: str, items: Sequence[Item]) -> Iterator[Item]:
        """Pass the items on and show a bar that moves with them; at the end say how long they took."""
        started = time.monotonic()
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
        with Progress(*columns, console=self._console, transient=True, disable=self._is_plain) as progress:
            yield from progress.track(items, description=text)
        self.say(f"{text} … {time.monotonic() - started:.1f} s")

    def welcome(self, lines: Sequence[tuple[str, str]]) -> None:
        """Write the addresses and what to do with them."""
        self.say("")
        for name, text in lines:
            self.say(f"  {name:<10} {text}")
        self.say("")

    @contextmanager
    def watch(self, tally: Tally) -> Iterator[Watch]:
        """Show the traffic as it passes; the caller asks for each look."""
        progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            console=self._console,
            transient=True,
            disable=self._is_plain,
        )
        with progress:
            yield Watch(self, tally, progress)


class Watch:
    """The live line about the traffic."""

    def __init__(self, screen: Screen, tally: Tally, progress: Progress) -> None:
        self._screen = screen
        self._tally = tally
        self._progress = progress
        self._task = progress.add_task("")
        self._started = self._plain_at = time.monotonic()

    def look(self) -> None:
        """Show the tally as it is now."""
        now = time.monotonic()
        text = _describe(self._tally, now - self._started)
        if not self._progress.disable:
            self._progress.update(self._task, description=text)
        elif now - self._plain_at >= PLAIN_EVERY_S:
            self._plain_at = now
            self._screen.say(text)


def _describe(tally: Tally, elapsed_s: float) -> str:
    rate = tally.answered / elapsed_s if elapsed_s > 0 else 0.0
    return (
        f"{tally.answered} calls answered, {rate:.1f}/s · {tally.limited} limited · {tally.failed} errors · "
        f"{tally.input_tokens} tokens in, {tally.output_tokens} out"
    )
