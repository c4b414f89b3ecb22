"""The operator's rules for which provider serves a route, e.g. `/v1/chat/*=deepseek`."""

from __future__ import annotations

from collections.abc import Iterable

from keygauge.usage.providers.names import provider_of, provider_of_path


class ProviderRules:
    """Providers by route. The longest pattern wins; a trailing `*` matches any ending."""

    def __init__(self, rules: Iterable[tuple[str, str]] = ()) -> None:
        self._rules = sorted(rules, key=lambda rule: len(rule[0]), reverse=True)

    def find(self, route: str, path: str, own: ProviderRules | None = None, model: str | None = None) -> str | None:
        """Return the provider of a route or path: by a plan's `own` rules, these rules, or the path and model."""
        named = (own and own.find_named(route, path)) or (self._rules and self.find_named(route, path))
        return named or provider_of_path(path, model)

    def of_request(self, route: str, path: str, model: str, own: ProviderRules | None = None) -> str | None:
        """Return the provider that will answer a request, if known."""
        return self.find(route, path, own, model) or provider_of(model)

    def find_named(self, route: str, path: str) -> str | None:
        """Return the provider that these rules name for a route or path."""
        for pattern, provider in self._rules:
            if any(_matches(pattern, place) for place in (route, path)):
                return provider
        return None


def _matches(pattern: str, place: str) -> bool:
    return place.startswith(pattern[:-1]) if pattern.endswith("*") else place == pattern
