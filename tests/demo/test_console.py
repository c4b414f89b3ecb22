import io

import pytest
import rich.console

from keygauge_demo import console as console_module
from keygauge_demo.console import DemoConsole
from keygauge_demo.traffic_counts import TrafficCounts


@pytest.fixture
def written():
    return io.StringIO()


@pytest.fixture
def console(written):
    return DemoConsole(rich.console.Console(file=written, force_terminal=False, highlight=False, width=40))


def test_lines_are_neither_wrapped_nor_read_as_markup(console, written):
    console.print("[bold]key[/bold] " + "x" * 60)
    console.print_error("[red]no")
    assert written.getvalue() == "[bold]key[/bold] " + "x" * 60 + "\n[red]no\n"


def test_steps_and_tracked_items_are_shown(console, written):
    with console.step("Starting"):
        pass
    assert list(console.track("Writing", [1, 2])) == [1, 2]
    lines = written.getvalue().splitlines()
    assert [line.partition(" … ")[0] for line in lines] == ["Starting", "Writing"]


def test_without_a_terminal_a_line_is_written_now_and_then(console, written, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(console_module.time, "monotonic", lambda: now[0])
    counts = TrafficCounts()
    with console.live_line(counts) as line:
        for _ in range(4):
            counts.record(200, input_tokens=5, output_tokens=2)
            now[0] += 2.5
            line.update()
    assert written.getvalue().splitlines() == [
        "2 calls answered, 0.4/s · 0 limited · 0 errors · 10 tokens in, 4 out",
        "4 calls answered, 0.4/s · 0 limited · 0 errors · 20 tokens in, 8 out",
    ]


def test_addresses_are_aligned(console, written):
    console.welcome([("portal", "http://a"), ("api", "http://b")])
    assert written.getvalue() == "\n  portal     http://a\n  api        http://b\n\n"
