import subprocess
import sys
from xml.etree import ElementTree as ET

import pytest

from keygauge_keyservice.portal.charts import chart
from keygauge_keyservice.portal.charts.chart import Bars, Series

SVG = "{http://www.w3.org/2000/svg}"


def bars(*series, count=30):
    labels = [f"day {number}" for number in range(count)]
    return Bars("tokens", labels, labels, series, write=str, write_tick=str)


def drawn(shown):
    return ET.fromstring(f"<div>{chart.draw(shown)}</div>").findall(f"{SVG}svg")


def test_chart_has_a_wide_and_a_narrow_variant_with_their_own_ids():
    wide, narrow = drawn(bars(Series("Input", "tone-input", [1] * 30)))
    assert (wide.get("id"), narrow.get("id")) == ("chart-tokens-wide", "chart-tokens-narrow")
    assert len(wide.findall(f".//{SVG}g[@class='axis x']//{SVG}text")) <= 12
    assert len(narrow.findall(f".//{SVG}g[@class='axis x']//{SVG}text")) <= 4


def test_chart_complies_with_the_content_security_policy():
    for svg in drawn(bars(Series("Input", "tone-input", [1] * 30))):
        for node in svg.iter():
            assert node.tag.removeprefix(SVG) in {"svg", "g", "rect", "path", "text", "desc"}
            assert not {name for name in node.attrib if name == "style" or name.startswith("on")}


def test_tooltip_lists_all_values_of_a_column():
    shown = bars(Series("Input", "tone-input", [7, 0]), Series("Output", "tone-output", [5, 0]), count=2)
    columns = drawn(shown)[0].findall(f".//{SVG}g[@class='column']")
    notes = [column.find(f"{SVG}desc[@class='value']").text for column in columns]
    assert notes == ["Output 5\nInput 7\nTotal 12", "Output 0\nInput 0\nTotal 0"]


def test_texts_are_escaped():
    shown = Bars("tokens", ["<b>"], ["<script>"], [Series("<i>", "tone-input", [1])], write=str, write_tick=str)
    text = str(chart.draw(shown))
    assert "<script>" not in text
    assert "<b>" not in text
    assert "<i>" not in text


@pytest.mark.parametrize("values", [[0], [1], [0] * 30, [10**12] * 3, [1, 10**9], list(range(400))])
def test_all_values_can_be_drawn(values):
    wide, _ = drawn(bars(Series("Input", "tone-input", values), count=len(values)))
    assert len(wide.findall(f".//{SVG}g[@class='column']")) == len(values)
    assert "nan" not in ET.tostring(wide, encoding="unicode")


@pytest.mark.parametrize(
    ("top", "ticks"),
    [
        (0, [0, 1]),
        (1, [0, 1]),
        (7, [0, 2, 4, 6, 8]),
        (100, [0, 20, 40, 60, 80, 100]),
        (101, [0, 20, 40, 60, 80, 100, 120]),
        (1_036_000, [0, 200_000, 400_000, 600_000, 800_000, 1_000_000, 1_200_000]),
    ],
)
def test_ticks_are_round_and_reach_the_top(top, ticks):
    assert chart._ticks(top) == ticks


def test_importing_the_chart_leaves_no_hook_behind():
    """Run in a separate process with warnings as errors and a missing module, as optional ones may be."""
    program = (
        "import contextlib, sys, keygauge_keyservice.portal.charts.chart\n"
        "with contextlib.suppress(ModuleNotFoundError): import no_such_module\n"
        "import anthropic, openai\n"
        "assert 'PluginImportFixer' not in {type(finder).__name__ for finder in sys.meta_path}"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)
