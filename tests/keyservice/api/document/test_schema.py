from msgspec import Struct

from keygauge_keyservice.api.document.schema import components


class Told(Struct):
    """What a type is.

    It is told as Python 3.13 keeps it, whatever the interpreter.
    """

    name: str


def test_a_docstring_is_told_without_its_indentation():
    described = components([Told])["Told"]["description"]
    assert described == "What a type is.\n\nIt is told as Python 3.13 keeps it, whatever the interpreter."
