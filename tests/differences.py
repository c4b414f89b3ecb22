"""Comparison of JSON documents."""


def lost(given, again, path=""):
    """Yield the paths in `given` that are missing or different in `again`."""
    if isinstance(given, dict):
        for name, value in given.items():
            if not isinstance(again, dict) or name not in again:
                yield f"{path}.{name}"
            else:
                yield from lost(value, again[name], f"{path}.{name}")
    elif isinstance(given, list):
        if len(given) != len(again):
            yield path
        for index, pair in enumerate(zip(given, again, strict=False)):
            yield from lost(*pair, f"{path}[{index}]")
    elif given != again:
        yield path
