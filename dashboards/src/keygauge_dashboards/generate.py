"""All generated files: their contents, and whether the files on disk are up to date."""

from __future__ import annotations

import json
from pathlib import Path

from keygauge_dashboards.alerts.alert import Links
from keygauge_dashboards.catalogue import catalogue
from keygauge_dashboards.dashboards.suite import pages
from keygauge_dashboards.grafana import schema_v2
from keygauge_dashboards.grafana.panels import Json
from keygauge_dashboards.provisioning import FOLDER, dashboard_folder, data_sources, ledger_rules, rules
from keygauge_dashboards.thresholds import Thresholds

GENERATED = Path("dashboards/generated")
_DASHBOARDS = GENERATED / "grafana/dashboards"
_PROVISIONING = GENERATED / "grafana/provisioning"
_GIT_SYNC_FOLDER = GENERATED / "grafana/git-sync/keygauge"
_DEFAULT = Links()


def generate(thresholds: Thresholds, links: Links = _DEFAULT) -> dict[Path, str]:
    """Return the text of every generated file by its path in the project folder; alerts link to `links`."""
    classic = {page.uid: page.json() for page in pages(thresholds, links.runbook)}
    return {
        **{_DASHBOARDS / f"{uid}.json": _json(page) for uid, page in classic.items()},
        **{_GIT_SYNC_FOLDER / f"{uid}.json": _json(schema_v2.resource(page)) for uid, page in classic.items()},
        _GIT_SYNC_FOLDER / "_folder.json": _json(schema_v2.folder(_GIT_SYNC_FOLDER.name, FOLDER)),
        GENERATED / "prometheus/keygauge.rules.yaml": rules(thresholds, links),
        _PROVISIONING / "datasources/keygauge.yaml": data_sources(),
        _PROVISIONING / "alerting/keygauge.yaml": ledger_rules(links),
        _PROVISIONING / "dashboards/keygauge.yaml": dashboard_folder(),
        Path("docs/reference/dashboards.md"): catalogue(thresholds),
    }


def write(folder: Path, files: dict[Path, str]) -> list[Path]:
    """Write the files in a folder and delete obsolete generated ones; return the changed paths."""
    changed = stale(folder, files)
    for path in changed:
        if path in files:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(files[path], encoding="utf-8")
        else:
            (folder / path).unlink()
    return changed


def stale(folder: Path, files: dict[Path, str]) -> list[Path]:
    """Return the paths of files that are missing, differ, or should not exist."""
    on_disk = {path.relative_to(folder) for path in (folder / GENERATED).rglob("*") if path.is_file()}
    different = {path for path, text in files.items() if _read(folder / path) != text}
    return sorted(different | (on_disk - set(files)))


def _json(content: Json) -> str:
    return json.dumps(content, indent=2, sort_keys=True) + "\n"


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None
