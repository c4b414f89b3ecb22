"""The layers between the middleware and the app that routes: other middleware, wrappers, closures."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from keygauge.clock import SECOND, now_ns

_INNER = ("app", "_app", "asgi_app", "wsgi_app", "wsgi_application", "application", "other_asgi_app")
_WRAPPED = ("__self__", "__wrapped__", "func")  # of methods, decorated functions and partials
_ROUTERS = ("router", "routes", "_router", "url_map", "add_route")
_MOST = 64


class Layer(NamedTuple):
    """An app that a request passes, and what it sees of the request."""

    app: Any
    path: str
    environ: dict[str, Any] | None = None  # WSGI only


@dataclass
class Walk:
    """The path of a request through the layers, as far as it was followed.

    `noted` is the template that an inner router has matched, if known; `params` are the path's parameters.
    """

    noted: str | None = None
    params: dict[str, Any] = field(default_factory=dict)
    template: str | None = None
    passed: list[Callable[[], list[Layer]]] = field(default_factory=list)  # called lazily: layers are seldom needed

    @property
    def layers(self) -> list[Layer]:
        """Return the layers that the request passes."""
        return [layer for find_layers in self.passed for layer in find_layers()]


class HostSearch:
    """A search for a known router behind an app; if none is found, it is repeated after a second.

    An app may be assembled after the middleware has wrapped it.
    """

    def __init__(self, app: Any, is_host: Callable[[Any], bool], *, clock: Callable[[], int] = now_ns) -> None:
        self._app = app
        self._is_host = is_host
        self._clock = clock
        self._again_ns = 0
        self._has_found = False

    def finds(self) -> bool:
        """Return whether a known router was found."""
        if not self._has_found and self._clock() >= self._again_ns:
            self._has_found = find(self._app, self._is_host)[0] is not None
            self._again_ns = self._clock() + SECOND
        return self._has_found


def find(app: Any, is_host: Callable[[Any], bool]) -> tuple[Any, list[Any]]:
    """Return the first inner app that is a host, or None, and the layers passed on the way."""
    waiting, passed = deque([app]), list[Any]()
    known = {id(app)}
    while waiting and len(passed) < _MOST:
        layer = waiting.popleft()
        if is_host(layer):
            return layer, passed
        passed.append(layer)
        for inner in _inside(layer):
            if callable(inner) and not isinstance(inner, type) and id(inner) not in known:
                known.add(id(inner))
                waiting.append(inner)
    return None, passed


def are_without_routes(layers: Iterable[Any]) -> bool:
    """Return whether no layer has a router of its own, so that the app has no routes."""
    return all(getattr(layer, name, None) is None for layer in layers for name in _ROUTERS)


def _inside(layer: Any) -> Iterator[Any]:
    for name in (*_INNER, *_WRAPPED):
        inner = getattr(layer, name, None)
        if inner is not None:
            yield inner
    for cell in getattr(layer, "__closure__", None) or ():
        try:
            yield cell.cell_contents
        except ValueError:  # an empty cell
            continue
