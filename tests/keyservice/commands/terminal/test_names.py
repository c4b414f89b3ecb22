import pytest

from keygauge.command_line.command import CommandError
from keygauge_keyservice.commands.terminal import names

MEMBERS = [{"id": 1, "name": "Ada"}, {"id": 2, "name": "Grace"}, {"id": 3, "name": "grace"}, {"id": 4, "name": "1"}]


@pytest.mark.parametrize(("given", "found"), [("ada", 1), ("2", 2), ("1", 1)])
def test_id_takes_precedence_over_names_of_any_case(given, found):
    assert names.find_among("member", given, MEMBERS)["id"] == found


def test_ambiguous_name_requires_the_id():
    with pytest.raises(CommandError, match=r"More than one member is named 'GRACE': use the id instead: 2, 3"):
        names.find_among("member", "GRACE", MEMBERS)


def test_error_for_an_unknown_name_has_the_list_command():
    with pytest.raises(CommandError, match="There is no member 'Alan': 'keygauge members list' shows them"):
        names.find_among("member", "Alan", MEMBERS)
