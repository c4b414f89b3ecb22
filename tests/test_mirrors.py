"""Each module has a test file of its name in the matching folder, and no folder has too many to read."""

from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {
    "instrumentation": "keygauge",
    "keyservice": "keygauge_keyservice",
    "dashboards": "keygauge_dashboards",
    "demo": "keygauge_demo",
}
PROGRAM_FILES = {"__init__.py", "__main__.py"}
TESTED_TOGETHER = {  # one test file covers all files of the folder
    "dashboards/dashboards": "test_suite.py",
    "dashboards/alerts": "test_prometheus.py",
}
NOTHING_TO_TEST = {  # constants and types
    "demo/ending.py",
    "instrumentation/warning_levels.py",
    "keyservice/accounts/account_terms.py",
    "keyservice/commands/connection/document.py",
    "keyservice/pricing/priced.py",
}


def modules(folder, package):
    source = ROOT / folder / "src" / package
    for file in source.rglob("*.py"):
        if file.name not in PROGRAM_FILES:
            yield f"{folder}/{file.relative_to(source)}"


def is_mirrored(module):
    room, name = (ROOT / "tests" / module).parent, Path(module).stem.lstrip("_")
    together = TESTED_TOGETHER.get(str(Path(module).parent), "")
    return any((room / test).is_file() for test in (f"test_{name}.py", together) if test)


@pytest.mark.parametrize("folder", PACKAGES)
def test_each_module_has_the_test_of_its_name(folder):
    known = set(modules(folder, PACKAGES[folder]))
    excepted = {module for module in NOTHING_TO_TEST if module.startswith(f"{folder}/")}
    assert {module for module in known if not is_mirrored(module)} == excepted


@pytest.mark.parametrize("folder", PACKAGES)
def test_no_folder_has_more_than_twenty_modules(folder):
    counts = Counter(Path(module).parent for module in modules(folder, PACKAGES[folder]))
    assert {str(room): count for room, count in counts.items() if count > 20} == {}
