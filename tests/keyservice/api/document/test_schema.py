from msgspec import Struct

from keygauge_keyservice.api.document.schema import components


class Sample(Struct):
    """A described type.

    Its docstring has no indentation, as in Python 3.13.
    """

    name: str


def test_description_is_the_docstring_without_its_indentation():
    described = components([Sample])["Sample"]["description"]
    assert described == "A described type.\n\nIts docstring has no indentation, as in Python 3.13."
