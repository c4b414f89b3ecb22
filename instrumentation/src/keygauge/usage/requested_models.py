"""The model of a failed call: the requested one, by the name used in answers to such requests."""

from __future__ import annotations


class RequestedModels:
    """Maps requested models to answering models, bounded so that clients cannot fill it."""

    def __init__(self, most: int = 500) -> None:
        self._most = most
        self.answered: dict[str, str] = {}  # by the name asked for

    def is_new(self, answered: str) -> bool:
        """Return whether it is not known yet how this model is asked for."""
        return answered not in self.answered and len(self.answered) < self._most

    def learn(self, requested: str | None, answered: str) -> None:
        """Remember a call that went well."""
        for name in (requested or answered, answered):
            if name in self.answered or len(self.answered) < self._most:
                self.answered[name] = answered

    def find(self, requested: str) -> str | None:
        """Return the name under which calls for this model are counted; None where none went well yet."""
        return self.answered.get(requested)
