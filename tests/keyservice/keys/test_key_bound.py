import pytest

from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.keys import key_bound, keys
from keygauge_keyservice.secret import Peppers

PEPPERS = Peppers.parse("1:" + "33" * 32)


@pytest.fixture
def create(connection):
    plans.create(connection, plan_id="free", name="Free", limits=[], actor="test")
    ids = {name: accounts.create(connection, name=name, plan_id="free", actor="test").id for name in ("Acme", "Beta")}

    def create(name="Acme"):
        made, _ = keys.create(connection, peppers=PEPPERS, account_id=ids[name], name="k", actor="test", most=2)
        return made

    return create


def test_an_account_has_room_until_it_has_the_maximum_without_deleted_keys(connection, create):
    first, _ = create(), create()
    create("Beta")
    with pytest.raises(Problem, match="at most 2 keys") as caught:
        create()
    assert (caught.value.status, caught.value.code) == (409, "too_many_keys")
    keys.set_status(connection, first.id, "disabled", actor="test")
    with pytest.raises(Problem):
        create()
    keys.delete(connection, first.id, actor="test")
    create()


def test_check_accepts_the_maximum(connection, create):
    account_id = create().account_id
    create()
    key_bound.check(connection, account_id, 2)
    with pytest.raises(Problem, match=r"at most 1 key\."):
        key_bound.check(connection, account_id, 1)
