"""The model of a failed call: the requested one, under the name used in answers to such requests."""

from __future__ import annotations


class RequestedModels:
    """A map of requested models to answering models, bounded so that clients cannot fill the memory."""

    def __init__(self, most: int = 500) -> None:
        self._most = most
        self.answered: dict[str, str] = {}  # by requested name

    def is_new(self, answered: str) -> bool:
        """Return whether an answering model is still unknown and there is room for it."""
        return answered not in self.answered and len(self.answered) < self._most

    def learn(self, requested: str | None, answered: str) -> None:
        """Remember the models of a successful call."""
        for name in (requested or answered, answered):
            if name in self.answered or len(self.answered) < self._most:
                self.answered[name] = answered

    def find(self, requested: str) -> str | None:
        """Return the name under which calls for this model are counted; None if none has succeeded yet."""
        return self.answered.get(requested)
