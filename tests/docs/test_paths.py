"""Files named in the documentation exist."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`([\w/.-]+\.(?:py|sql|md|yaml|html|sh))`")
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md")]
EXAMPLES = {"around.py", "app.py"}  # files that the reader creates


@pytest.fixture(scope="module")
def files():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    return listed or [str(path.relative_to(ROOT)) for path in ROOT.rglob("*.*")]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: str(page.relative_to(ROOT))
)
def test_every_named_file_exists(page, files):
    named = set(NAMED.findall(page.read_text(encoding="utf-8"))) - EXAMPLES
    assert [name for name in named if not any(f"/{file}".endswith(f"/{name}") for file in files)] == []
