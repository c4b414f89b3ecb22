"""The commands of the how-to guides, run after the quick start with its account, key and app."""

import hashlib
from pathlib import Path

import pytest
from code_blocks import blocks_of

ROOT = Path(__file__).parents[2]
START = ROOT / "docs/start/quickstart.md"
# tests/deploy, tests/e2e and tests/instrumentation run what the other guides show: they need Kubernetes' or systemd's
# programs, a model server, or another framework.
PAGES = ["end-users", "key-status", "moving-in", "notifications"]
ELSEWHERE = ("pip install", "keygauge import litellm", "KEYGAUGE_TAG=")  # the last is set for the app below


@pytest.fixture
def reader(shell, tmp_path):
    """Follow the quick start; return its shell, with the variables that the guides use."""
    (tmp_path / "body.json").write_text("{}")
    digest = hashlib.sha256(b"sk-a-key-of-another-system").hexdigest()
    (tmp_path / "keys.csv").write_text(f"hash,account,name,limits\n{digest},Acme,old,rpm=60:request:60s\n")
    shell("export KEYGAUGE_TAG=header:X-End-User")
    for kind, title, block in blocks_of(START.read_text(encoding="utf-8")):
        if kind == "python":
            (tmp_path / title).write_text(block)
        elif not block.startswith("pip install"):
            shell(block.strip())
    shell("export API=http://127.0.0.1:8000 KEYGAUGE=http://127.0.0.1:8080 KEY=$API_KEY")
    shell("keygauge members create ada@example.com --account Acme --generate")
    shell("export ACCOUNT=$(keygauge accounts list --output csv | grep Acme | cut -d, -f1)")
    shell("export KEYGAUGE_TOKEN=$(keygauge tokens create guide --kind admin --quiet)")
    return shell


def commands_of(page):
    for kind, _, block in blocks_of((ROOT / f"docs/how-to/{page}.md").read_text(encoding="utf-8")):
        if kind == "python":
            compile(block, page, "exec")
        elif kind == "console":
            yield "\n".join(line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ "))
        elif not block.startswith(ELSEWHERE):
            failing = block.replace("curl ", "curl --fail-with-body --silent --show-error ")
            yield failing.replace("notifications test 7", "notifications test 1").strip()


@pytest.mark.timeout(400)
def test_every_command_of_the_guides_runs(reader):
    for page in PAGES:  # in one test, since each reader takes some seconds to follow the quick start
        for command in commands_of(page):
            assert reader(command), command
