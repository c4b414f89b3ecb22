"""The counts an answer has told so far: one document of a body, many of a stream."""

from __future__ import annotations

from keygauge.usage import providers
from keygauge.usage.counts import UNTOLD, Usage, are_counts, fit_together, override
from keygauge.usage.reading import Missing, Reading


class Accumulator:
    """Take documents in their order; later counts replace earlier ones field by field, for all are cumulative."""

    __slots__ = ("_excludes_cache", "_is_bad", "_provider", "_stage", "_usage", "failed", "model")

    def __init__(self) -> None:
        self.failed = False
        self.model: str | None = None
        self._excludes_cache = False
        self._is_bad = False
        self._provider: str | None = None
        self._stage: providers.Stage = "running"
        self._usage: Usage = UNTOLD

    @property
    def tells(self) -> bool:
        """Whether there is anything to count."""
        return self._usage is not UNTOLD

    def take(self, document: object) -> None:
        """Look into one parsed document."""
        self.failed = self.failed or providers.is_error(document)
        found = providers.find(document)
        if found is None:
            self.model = self.model or providers.find_model(document)
            return
        usage, provider, model, stage, excludes_cache = found
        self.model = model or self.model
        self._provider = provider or self._provider
        if not are_counts(usage):
            self._is_bad = True
        elif usage != UNTOLD:
            self._usage = usage if self._usage is UNTOLD else override(self._usage, usage)
            self._excludes_cache = excludes_cache
            self._stage = stage
            if self._is_bad and stage == "final" and None not in usage[:2]:
                self._is_bad = False  # the last word told both, so a bad one before it does no harm

    def read(self, *, complete: bool, reason: Missing | None = None) -> Reading:
        """Sum up; `reason` is why the reader could not see all of the answer."""
        usage = self._usage
        if self._excludes_cache and usage.input_tokens is not None:
            whole = usage.input_tokens + (usage.cache_read_tokens or 0) + (usage.cache_write_tokens or 0)
            usage = usage._replace(input_tokens=whole)
        if not fit_together(usage):
            self._is_bad, usage = True, UNTOLD
        if usage is UNTOLD:
            missing = "bad_counts" if self._is_bad else reason or ("no_usage" if complete else "cut")
            return Reading(None, self.model, self._provider, "none", missing)
        if self._is_bad:
            return Reading(usage, self.model, self._provider, "partial", "bad_counts")
        if self._stage == "final" or (complete and reason is None and self._stage == "running"):
            return Reading(usage, self.model, self._provider, "reported", None)
        return Reading(usage, self.model, self._provider, "partial", reason or "cut")
