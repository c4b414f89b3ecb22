"""The models that answered calls, by what the calls requested: a name without a price costs what they cost."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from threading import Lock
from typing import TypeAlias

from keygauge.call import Call

Model: TypeAlias = tuple[str | None, str]
"""A provider and a model, as named by an answer."""

Requested: TypeAlias = tuple[str, ...] | str | None
"""All models that a call named, or the route if it named none or may name any."""

_MOST_ASKED = 1_000
_MOST_ANSWERED = 16  # per request, the most recent ones


def requested_by(call: Call) -> Requested:
    """Return what a call requests; its body has been read."""
    return call.estimate.models or call.template


class AnsweredModels:
    """Recently answering models per request; bounded and thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._answered: OrderedDict[Requested, dict[Model, None]] = OrderedDict()  # least recently used first

    def find(self, requested: Requested) -> Collection[Model]:
        """Return the models that answered recently; empty if no answer has named a model yet."""
        with self._lock:
            models = self._answered.get(requested)
            if models is None:
                return ()
            self._answered.move_to_end(requested)
            return tuple(models)

    def learn(self, requested: Requested, model: Model) -> None:
        """Note which model answered."""
        with self._lock:
            models = self._answered.setdefault(requested, {})
            models.pop(model, None)
            models[model] = None
            if len(models) > _MOST_ANSWERED:
                del models[next(iter(models))]
            if len(self._answered) > _MOST_ASKED:
                self._answered.popitem(last=False)
