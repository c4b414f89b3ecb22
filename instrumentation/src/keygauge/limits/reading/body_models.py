"""The models that a body names: directly, as fallbacks, in its tools, and in the requests of a batch."""

from __future__ import annotations

from collections import deque

from keygauge.limits.reading.model_names import NAMES
from keygauge.limits.reading.request_fields import Members

_CHOICES = "models"  # a list to choose from
_TOOLS = "tools"  # a tool may have its own model, such as OpenAI's image generation or Anthropic's advisor
_FALLBACKS = frozenset({"fallbacks", "context_window_fallbacks", "content_policy_fallbacks"})  # LiteLLM's
_BATCHES = frozenset({"requests", "batch"})  # Anthropic's and Gemini's: each request in them names its model
_IN_BATCHES = _BATCHES | {"params", "request", "body", "inputconfig", "input_config"}
NAMING = NAMES | _FALLBACKS | _BATCHES | {_CHOICES, _TOOLS}  # in lower case


class BodyModels:
    """Collects `names`; `hidden` means that there may be others. Not recursive, as clients choose the nesting depth."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.hidden = False

    def read(self, name: str, value: object) -> None:
        """Read one member of a body, whose name is one of `NAMING`."""
        if name in NAMES:
            self.add(value)
        elif name == _CHOICES:
            for one in value if type(value) is list else [value]:
                self.add(one)
        elif name == _TOOLS:
            self._read_tools(value)
        elif name in _FALLBACKS:
            self._read_fallbacks(value)
        else:
            self._read_batch(value)

    def add(self, value: object) -> None:
        """Add a model; the app may understand a value that is not a string as a model."""
        if isinstance(value, str):
            self.names.append(value)
        elif value is not None:
            self.hidden = True

    def _read_tools(self, tools: object) -> None:
        for tool in tools if type(tools) is list else ():
            for name, value in tool if isinstance(tool, Members) else ():
                if name.casefold() in NAMES:
                    self.add(value)

    def _read_fallbacks(self, fallbacks: object) -> None:
        """Find names, calls with their own names, and lists of names per failed model."""
        waiting = deque([fallbacks])
        while waiting:
            value = waiting.popleft()
            if isinstance(value, Members):
                named = [inner for name, inner in value if name.casefold() in NAMES]
                waiting.extend(named or [inner for _, inner in value if isinstance(inner, list)])
            elif isinstance(value, list):
                waiting.extend(value)
            else:
                self.add(value)

    def _read_batch(self, batch: object) -> None:
        waiting = deque([batch])
        while waiting:
            value = waiting.popleft()
            if isinstance(value, Members):
                for name, inner in value:
                    lower = name.casefold()
                    if lower in _IN_BATCHES:
                        waiting.append(inner)
                    elif lower in NAMES and isinstance(inner, str):
                        self.add(inner.removeprefix("models/"))
                    elif lower in NAMING:
                        self.read(lower, inner)
            elif isinstance(value, list):
                waiting.extend(value)
