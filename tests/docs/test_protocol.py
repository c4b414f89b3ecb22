"""docs/reference/protocol.md has exactly the fields of the messages."""

import re
from pathlib import Path

import msgspec
import pytest

from keygauge import protocol

PAGE = (Path(__file__).parents[2] / "docs/reference/protocol.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```jsonc\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
MESSAGES = {
    "heartbeat": (protocol.Heartbeat,),
    "its answer": (protocol.HeartbeatAnswer,),
    "key entry": (protocol.KeyEntry,),
    "report": (protocol.Report,),
}


def fields_of(kind):
    """Return the names of a message's fields, including nested ones except key entries, which have their own block."""
    found = set()
    for name, schema in msgspec.json.schema_components([kind])[1].items():
        if name != "KeyEntry" or kind is protocol.KeyEntry:
            found |= set(schema["properties"])
    if kind is protocol.HeartbeatAnswer:
        inside = msgspec.json.schema_components([protocol.KeyEntry])[1]
        only_inside = {field for schema in inside.values() for field in schema["properties"]}
        outside = [n for n in msgspec.json.schema_components([kind])[1] if n not in inside]
        components = msgspec.json.schema_components([kind])[1]
        found -= only_inside - {field for name in outside for field in components[name]["properties"]}
    return found


@pytest.mark.parametrize(("block", "kinds"), list(zip(BLOCKS, MESSAGES.values(), strict=True)), ids=MESSAGES)
def test_the_page_has_the_fields_of_the_message(block, kinds):
    documented = set(re.findall(r'"(\w+)":', re.sub(r"//.*", "", block)))
    assert documented == set().union(*(fields_of(kind) for kind in kinds))
