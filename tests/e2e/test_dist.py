"""Sdists and wheels of all distributions: builds are reproducible, and the installed packages work."""

import hashlib
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import environments
import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from ports import free_ports

ROOT = Path(__file__).parents[2]
FOLDERS = ("instrumentation", "keyservice", "dashboards", "demo")
BIN = Path(sys.executable).parent
NOON = "1800000000"
pytestmark = [pytest.mark.xdist_group("dist"), pytest.mark.timeout(900), pytest.mark.long]


def build(folder, target, *options):
    """Build from a copy, whose files have different times and another location."""
    copy = target / "source" / folder
    shutil.copytree(ROOT / folder, copy, copy_function=shutil.copy, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", target / "dist", *options, copy]
    environ = {**os.environ, "SOURCE_DATE_EPOCH": NOON}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def digests(directory):
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in directory.iterdir()}


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    target = tmp_path_factory.mktemp("dist")
    for folder in FOLDERS:
        build(folder, target)
    return target / "dist"


def test_each_has_an_sdist_and_a_wheel_with_valid_metadata(dist):
    assert len(list(dist.glob("*.whl"))) == len(list(dist.glob("*.tar.gz"))) == len(FOLDERS)
    done = subprocess.run(
        [BIN / "twine", "check", "--strict", *dist.iterdir()], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def sboms(tmp_path_factory):
    target = tmp_path_factory.mktemp("sboms")
    command = ["make", "-o", f"{sys.prefix}/bin/.dev", "sbom", f"VENV={sys.prefix}", f"DIST={target}"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return target


@pytest.mark.parametrize("image", ["keyservice", "demo"])
def test_sboms_list_what_the_images_install(sboms, image):
    sbom = json.loads((sboms / f"keygauge-{image}.cdx.json").read_text())
    pins = re.findall(
        r"^([\w.-]+)(?:\[[\w,-]+\])?==(\S+)", (ROOT / "locked" / f"{image}.txt").read_text(), re.MULTILINE
    )
    assert sbom["metadata"]["component"]["name"] == f"keygauge-{image}"
    assert [(part["name"], part["version"]) for part in sbom["components"]] == pins
    assert all(part["externalReferences"][0]["hashes"] for part in sbom["components"])


@pytest.mark.parametrize("folder", ["instrumentation", "dashboards"])
def test_builds_are_reproducible(dist, tmp_path, folder):
    build(folder, tmp_path)
    again = digests(tmp_path / "dist")
    assert len(again) == 2
    assert again.items() <= digests(dist).items()


def pythons():
    """Yield this machine's supported interpreters by version: those on the path, and pyenv's."""
    versions = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    for minor in (11, 12, 13, 14):
        known = [shutil.which(f"python3.{minor}"), *versions.glob(f"3.{minor}.*/bin/python")]
        usable = [path for path in known if path and can_make_environments(path)]
        if usable:
            yield f"3.{minor}", usable[0]


def can_make_environments(python):
    done = subprocess.run([python, "-c", "import ensurepip"], capture_output=True, check=False)
    return done.returncode == 0


PYTHONS = dict(pythons())
SMOKE = """
import importlib.metadata, sys
import keygauge.asgi, keygauge.wsgi, keygauge.instrumentor
assert "keygauge_startup" not in sys.modules
print(importlib.metadata.version("keygauge"))
"""


def test_all_wheels_together_provide_all_commands(dist, tmp_path):
    packages = [wheel for wheel in dist.glob("*.whl") if "demo" not in wheel.name]
    bin_directory = installed(sys.executable, tmp_path / "environment", *packages)
    told = subprocess.run([bin_directory / "keygauge", "--help"], capture_output=True, text=True, check=True).stdout
    assert all(command in told for command in ("serve", "init", "doctor", "dashboards"))


@pytest.mark.parametrize("version", PYTHONS)
def test_the_middleware_installs_in_a_clean_environment(dist, tmp_path, version):
    bin_directory = installed(PYTHONS[version], tmp_path / "environment", *dist.glob("keygauge-*.whl"))
    done = subprocess.run(
        [bin_directory / "python", "-c", SMOKE], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"keygauge-{done.stdout.strip()}-py3-none-any.whl" in digests(dist)
    guarded = subprocess.run(
        [bin_directory / "python", "-c", "import sys; print('keygauge_startup' in sys.modules)"],
        env={**os.environ, "KEYGAUGE_SERVICE_URL": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert guarded.stdout == "True\n"


def lowest():
    """Return the lowest version of each library that satisfies all distributions."""
    versions = {}
    for folder in FOLDERS:
        project = tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]
        for text in (*project["dependencies"], *itertools.chain(*project.get("optional-dependencies", {}).values())):
            requirement = Requirement(text)
            for bound in requirement.specifier:
                version = Version(bound.version)
                versions[requirement.name] = max(version, versions.get(requirement.name, version))
    return versions


def test_the_demo_balances_with_the_lowest_allowed_versions(dist, tmp_path):
    constraints = tmp_path / "lowest.txt"
    constraints.write_text("".join(f"{name}=={version}\n" for name, version in lowest().items()))
    bin_directory = installed(sys.executable, tmp_path / "environment", *dist.glob("*.whl"), constraints=constraints)
    portal, api = free_ports(2)
    done = subprocess.run(
        [bin_directory / "keygauge-demo"],
        env={**os.environ, "DEMO_SECONDS": "5", "DEMO_PORT_PORTAL": str(portal), "DEMO_PORT_API": str(api)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    totals = json.loads(done.stdout.splitlines()[-1])
    assert totals["sent"] == totals["answered"] == totals["ledger_events"] == totals["metric_requests"] > 0
    assert totals["input_tokens"] == totals["ledger_input_tokens"] == totals["metric_input_tokens"] > 0


def installed(python, directory, *packages, constraints=ROOT / "constraints.txt"):
    """Install the wheels with their dependencies; skip if nothing can be downloaded."""
    try:
        environments.run(python, "-m", "venv", "--without-pip", directory)  # pip takes longer to install than the rest
        pip = (sys.executable, "-m", "pip", "--python", directory / "bin/python", "install")
        options = ("--quiet", "--no-compile", "--disable-pip-version-check")
        environments.run(*pip, *options, "-c", constraints, *packages)
    except subprocess.SubprocessError as error:
        reason = f"nothing can be installed here: {getattr(error, 'stderr', None) or error}"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return directory / "bin"
