"""The demo's output: a live line on a terminal, otherwise a plain line now and then."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn

from keygauge_demo.traffic_counts import TrafficCounts

PLAIN_EVERY_S = 5.0

Item = TypeVar("Item")


class DemoConsole:
    """Writes to one console."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._is_plain = not self._console.is_terminal

    def print(self, text: str) -> None:
        """Write a line."""
        self._console.print(text, soft_wrap=True, markup=False)

    def print_error(self, text: str) -> None:
        """Write a line about an error."""
        self._console.print(text, style="bold red", soft_wrap=True, markup=False)

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Show a step while it runs, and how long it took."""
        started = time.monotonic()
        with self._console.status(text):
            yield
        self.print(f"{text} … {time.monotonic() - started:.1f} s")

    def track(self, text: str, items: Sequence[Item]) -> Iterator[Item]:
        """Yield the items with a progress bar; at the end, show how long they took."""
        started = time.monotonic()
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
        with Progress(*columns, console=self._console, transient=True, disable=self._is_plain) as progress:
            yield from progress.track(items, description=text)
        self.print(f"{text} … {time.monotonic() - started:.1f} s")

    def welcome(self, lines: Sequence[tuple[str, str]]) -> None:
        """Write the addresses and how to use them."""
        self.print("")
        for name, text in lines:
            self.print(f"  {name:<10} {text}")
        self.print("")

    @contextmanager
    def live_line(self, counts: TrafficCounts) -> Iterator[LiveLine]:
        """Show the live traffic; the caller triggers each update."""
        progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            console=self._console,
            transient=True,
            disable=self._is_plain,
        )
        with progress:
            yield LiveLine(self, counts, progress)


class LiveLine:
    """The live line about the traffic."""

    def __init__(self, console: DemoConsole, counts: TrafficCounts, progress: Progress) -> None:
        self._console = console
        self._counts = counts
        self._progress = progress
        self._task = progress.add_task("")
        self._started = self._plain_at = time.monotonic()

    def update(self) -> None:
        """Show the current counts."""
        now = time.monotonic()
        text = _describe(self._counts, now - self._started)
        if not self._progress.disable:
            self._progress.update(self._task, description=text)
        elif now - self._plain_at >= PLAIN_EVERY_S:
            self._plain_at = now
            self._console.print(text)


def _describe(counts: TrafficCounts, elapsed_s: float) -> str:
    rate = counts.answered / elapsed_s if elapsed_s > 0 else 0.0
    return (
        f"{counts.answered} calls answered, {rate:.1f}/s · {counts.limited} limited · {counts.failed} errors · "
        f"{counts.input_tokens} tokens in, {counts.output_tokens} out"
    )
