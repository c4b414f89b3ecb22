import pytest

from keygauge_keyservice.commands.connection.client import Api
from keygauge_keyservice.commands.terminal.name_columns import Names, named
from keygauge_keyservice.commands.terminal.output import Output


@pytest.fixture
def sent():
    return []


@pytest.fixture
def names(sent):
    def send(method, path, query, body):
        sent.append(path)
        if path == "/v1/keys":
            return (
                200,
                b'{"keys": [{"id": "k20", "name": "twenty"}, {"id": "k21", "name": "twenty-one"}], "next": null}',
            )
        if path == "/v1/keys/gone":
            return 404, b"{}"
        return 200, f'{{"name": "name of {path.rpartition("/")[2]}"}}'.encode()

    return Names(Api(send), "keys")


def test_name_is_read_once(names, sent):
    assert [names.of("k1"), names.of("k1"), names.of("")] == ["name of k1", "name of k1", ""]
    assert sent == ["/v1/keys/k1"]


def test_unknown_id_is_its_own_name(names):
    assert names.of("gone") == "gone"


def test_many_names_are_read_as_a_list(names, sent):
    assert [names.of(f"k{number}") for number in range(22)][-2:] == ["twenty", "twenty-one"]
    assert sent[20:] == ["/v1/keys"]
    assert names.of("deleted") == "name of deleted"


@pytest.mark.parametrize(("form", "titles"), [("table", ["key"]), ("csv", ["key", "key name"])])
def test_csv_has_the_id_too(names, form, titles):
    columns = named(names, Output(form), "key", lambda document: document["key"])
    assert [one.title for one in columns] == titles
    assert columns[-1].read({"key": "k1"}) == "name of k1"
    assert columns[0].read({"key": "k1"}) == ("k1" if form == "csv" else "name of k1")
