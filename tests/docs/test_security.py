"""docs/operate/security.md: its guarantees have the tests that it names."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/operate/security.md").read_text(encoding="utf-8")


def test_named_tests_exist():
    named = re.findall(r"`((?:tests|bench)/[\w/]+\.py)`", PAGE)
    assert len(named) > 30
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_each_guarantee_has_tests():
    guarantees = re.findall(r"^- \*\*", PAGE.partition("## Guarantees")[2].partition("### Where")[0], re.MULTILINE)
    tested = re.findall(r"^\| [^|`]+ \| .*test_", PAGE, re.MULTILINE)
    assert len(tested) >= len(guarantees)
