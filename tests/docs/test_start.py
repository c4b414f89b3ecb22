"""The README and docs/start, followed like a reader: every block is run, in order, in an empty folder."""

from pathlib import Path

import pytest
from code_blocks import blocks_of

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs/start").glob("*.md"))]
IN_CONTAINERS = "### Dashboards and alerts"  # the README's last quick start: see tests/dashboards/test_compose.py


@pytest.mark.timeout(400)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_of_the_page_runs(page, shell, tmp_path):
    text = page.read_text(encoding="utf-8").partition(IN_CONTAINERS)[0]
    outputs = []
    for kind, title, block in blocks_of(text):
        if kind == "python":
            (tmp_path / title).write_text(block)
        elif not block.startswith(("pip install", "make ")):  # already installed, or run by other tests
            outputs.append(shell(block.strip()))
    refused_and_answered = next(output for output in outputs if "HTTP/1.1" in output)
    assert "401" in refused_and_answered
    assert "x-ratelimit-limit-requests: 600" in refused_and_answered
    assert '"gpt-4o-mini"' in refused_and_answered or '{"hello":"world"}' in refused_and_answered
