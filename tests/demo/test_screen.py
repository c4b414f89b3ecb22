import io

import pytest
from rich.console import Console

from keygauge_demo import screen as screen_module
from keygauge_demo.screen import Screen
from keygauge_demo.tally import Tally


@pytest.fixture
def written():
    return io.StringIO()


@pytest.fixture
def screen(written):
    return Screen(Console(file=written, force_terminal=False, highlight=False, width=40))


def test_lines_are_neither_wrapped_nor_read_as_markup(screen, written):
    screen.say("[bold]key[/bold] " + "x" * 60)
    screen.complain("[red]no")
    assert written.getvalue() == "[bold]key[/bold] " + "x" * 60 + "\n[red]no\n"


def test_steps_and_items_say_what_was_done(screen, written):
    with screen.step("Starting"):
        pass
    assert list(screen.track("Writing", [1, 2])) == [1, 2]
    lines = written.getvalue().splitlines()
    assert [line.partition(" … ")[0] for line in lines] == ["Starting", "Writing"]


def test_where_nothing_moves_a_line_is_written_now_and_then(screen, written, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(screen_module.time, "monotonic", lambda: now[0])
    tally = Tally()
    with screen.watch(tally) as watch:
        for _ in range(4):
            tally.record(200, input_tokens=5, output_tokens=2)
            now[0] += 2.5
            watch.look()
    assert written.getvalue().splitlines() == [
        "2 calls answered, 0.4/s · 0 limited · 0 errors · 10 tokens in, 4 out",
        "4 calls answered, 0.4/s · 0 limited · 0 errors · 20 tokens in, 8 out",
    ]


def test_addresses_stand_under_each_other(screen, written):
    screen.welcome([("portal", "http://a"), ("api", "http://b")])
    assert written.getvalue() == "\n  portal     http://a\n  api        http://b\n\n"
