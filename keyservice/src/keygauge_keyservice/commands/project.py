"""Detection of a folder's web framework, the file that creates its app, and the line that meters it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FILES_MAX = 2_000
_SIZE_MAX = 1 << 20  # bytes; larger files are skipped
_DEPTH_MAX = 4
_SKIPPED = {
    *("node_modules", "site-packages", "tests", "test", "docs", "build", "dist", "venv", "env"),
    *("examples", "scripts", "bench", "benchmarks"),
}


@dataclass(frozen=True)
class Framework:
    """A framework, how its apps are created, and how to meter one; `{app}` is the app's name."""

    name: str
    made: str  # a regular expression for the call that creates an app
    kind: str  # asgi or wsgi
    line: str
    start: str

    @property
    def imported(self) -> str:
        """Return the import that `line` needs."""
        return f"from keygauge.{self.kind} import KeyGaugeMiddleware"


@dataclass(frozen=True)
class Project:
    """An app that was found; servers cannot import one that is created in a function."""

    framework: Framework
    file: Path
    app: str
    is_importable: bool

    @property
    def line(self) -> str:
        """Return the line that meters the app."""
        return self.framework.line.format(app=self.app)

    def start(self, folder: Path) -> str:
        """Return the command that serves the app."""
        parts = self.file.relative_to(folder).with_suffix("").parts
        prefix = ""
        if parts[0] == "src" and not (folder / "src/__init__.py").exists():
            parts, prefix = parts[1:], "PYTHONPATH=src "
        if not self.is_importable or not all(part.isidentifier() for part in parts):
            return "# the command that you start it with"
        module = ".".join(parts).removesuffix(".__init__")
        return prefix + self.framework.start.format(target=f"{module}:{self.app}")


_ADD = "{app}.add_middleware(KeyGaugeMiddleware)"
_WRAP = "{app} = KeyGaugeMiddleware({app})"
_UVICORN, _GUNICORN = "uvicorn {target} --port 8000", "gunicorn {target} --bind 127.0.0.1:8000"
FRAMEWORKS = (
    Framework("FastAPI", r"(?:fastapi\.)?FastAPI\(", "asgi", _ADD, _UVICORN),
    Framework("Litestar", r"(?:litestar\.)?Litestar\(", "asgi", _WRAP, _UVICORN),
    Framework("Quart", r"(?:quart\.)?Quart\(", "asgi", "{app}.asgi_app = KeyGaugeMiddleware({app}.asgi_app)", _UVICORN),
    Framework(
        "Flask", r"(?:flask\.)?Flask\(", "wsgi", "{app}.wsgi_app = KeyGaugeMiddleware({app}.wsgi_app)", _GUNICORN
    ),
    Framework("Django (WSGI)", r"get_wsgi_application\(", "wsgi", _WRAP, _GUNICORN),
    Framework("Django (ASGI)", r"get_asgi_application\(", "asgi", _WRAP, _UVICORN),
    Framework("Falcon (ASGI)", r"falcon\.asgi\.App\(", "asgi", _WRAP, _UVICORN),
    Framework("Falcon", r"falcon\.App\(", "wsgi", _WRAP, _GUNICORN),
    Framework("Starlette", r"(?:starlette\.applications\.)?Starlette\(", "asgi", _ADD, _UVICORN),
)


def find(folder: Path) -> Project | None:
    """Return the first app in a folder: of the files nearest to the top, in the order of frameworks."""
    files_left = _FILES_MAX
    for files in _levels(folder):
        found = _find_in(list(_sources(files[:files_left])))
        if found:
            return found
        files_left = max(0, files_left - len(files))
    return None


def _find_in(sources: list[tuple[Path, str]]) -> Project | None:
    for framework in FRAMEWORKS:
        made = re.compile(rf"^([ \t]*)([A-Za-z_]\w*)(?:\s*:[^=\n]+)?\s*=\s*{framework.made}", re.MULTILINE)
        for file, text in sources:
            if found := made.search(text):
                return Project(framework, file, found[2], is_importable=not found[1])
    return None


def _sources(files: list[Path]) -> Iterator[tuple[Path, str]]:
    for file in files:
        try:
            if file.stat().st_size <= _SIZE_MAX:
                yield file, file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue


def _levels(folder: Path) -> Iterator[list[Path]]:
    """Yield the Python files of each level of folders, from the top; `src` belongs to the top."""
    level = [folder, folder / "src"]
    for _ in range(_DEPTH_MAX):
        entries = [entry for directory in level for entry in _entries(directory)]
        yield [entry for entry in entries if entry.suffix == ".py" and entry.is_file()]
        level = [entry for entry in entries if _is_looked_into(entry) and entry != folder / "src"]


def _entries(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []


def _is_looked_into(entry: Path) -> bool:
    is_hidden = entry.name.startswith((".", "_")) or entry.name in _SKIPPED
    return not is_hidden and entry.is_dir() and not entry.is_symlink() and not (entry / "pyvenv.cfg").exists()
