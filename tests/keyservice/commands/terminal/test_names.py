import pytest

from keygauge.command_line.command import CommandError
from keygauge_keyservice.commands.terminal import names

MEMBERS = [{"id": 1, "name": "Ada"}, {"id": 2, "name": "Grace"}, {"id": 3, "name": "grace"}, {"id": 4, "name": "1"}]


@pytest.mark.parametrize(("given", "found"), [("ada", 1), ("2", 2), ("1", 1)])
def test_an_id_comes_before_a_name_in_any_case(given, found):
    assert names.find_among("member", given, MEMBERS)["id"] == found


def test_a_name_of_several_asks_for_the_id():
    with pytest.raises(CommandError, match=r"More than one member is named 'GRACE': use the id instead: 2, 3"):
        names.find_among("member", "GRACE", MEMBERS)


def test_what_is_not_there_names_the_command_that_lists_it():
    with pytest.raises(CommandError, match="There is no member 'Alan': 'keygauge members list' shows them"):
        names.find_among("member", "Alan", MEMBERS)
