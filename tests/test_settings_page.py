"""docs/reference/settings.md lists every setting that the code reads, and no others."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = ("*/src/**/*.py", "collector/*", "compose.yaml")
name = re.compile(r"\bKEYGAUGE_[A-Z]+(?:_[A-Z]+)*\b")


def test_each_setting_is_described_and_each_description_has_its_setting():
    files = [file for pattern in SOURCES for file in ROOT.glob(pattern) if file.is_file()]
    read = {found for file in files for found in name.findall(file.read_text(encoding="utf-8"))}
    documented = set(name.findall((ROOT / "docs/reference/settings.md").read_text(encoding="utf-8")))
    assert documented == read
