"""Choose a key by typing: labels that are told apart, for a field with suggestions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from keygauge_keyservice.keys.keys import Key


def labels(listed: Sequence[Key]) -> dict[str, str]:
    """Return the keys' ids by label: the name, with the key's beginning where several have it."""
    times = Counter(key.name for key in listed)
    return {
        key.name if times[key.name] == 1 else f"{key.name} (kg_{key.environment}_{key.id[:4]}…)": key.id
        for key in listed
    }


def id_of(text: str, known: Mapping[str, str]) -> str:
    """Return the id that a label stands for; what is no label is taken for an id."""
    return known.get(text, text)
