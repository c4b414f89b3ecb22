import pytest

from keygauge_keyservice.accounts import accounts, plan_choice, plans
from keygauge_keyservice.errors import Problem


@pytest.fixture
def plan(connection):
    """`plan(id, self_service=…)` creates a plan billed by the day."""

    def plan(plan_id, *, self_service=True):
        plans.create(connection, plan_id=plan_id, name=plan_id, limits=[], actor="test")
        plans.set_terms(connection, plan_id, prorated=True, self_service=self_service, actor="test")

    return plan


@pytest.fixture
def account(connection, plan):
    plan("free")
    plan("pro")
    plan("enterprise", self_service=False)
    return accounts.create(connection, name="Acme", plan_id="free", actor="test")


def test_an_account_is_offered_the_other_self_service_plans(connection, account):
    assert [plan.id for plan in plan_choice.offered(connection, account)] == ["pro"]


def test_an_account_on_another_plan_is_offered_none(connection, account):
    moved = accounts.change_plan(connection, account.id, "enterprise", actor="operator")
    assert plan_choice.offered(connection, moved) == []
    with pytest.raises(Problem, match="not available"):
        plan_choice.choose(connection, account.id, "pro", actor="owner")


@pytest.mark.parametrize("plan_id", ["free", "enterprise", "nothing"])
def test_only_an_offered_plan_can_be_chosen(connection, account, plan_id):
    with pytest.raises(Problem) as raised:
        plan_choice.choose(connection, account.id, plan_id, actor="owner")
    assert raised.value.status == 404


def test_a_plan_can_be_chosen_once_a_day(connection, account):
    plan_choice.choose(connection, account.id, "pro", actor="owner")
    assert accounts.require(connection, account.id).plan_id == "pro"
    with pytest.raises(Problem) as raised:
        plan_choice.choose(connection, account.id, "free", actor="owner")
    assert raised.value.code == "plan_changed_today"
    connection.execute("UPDATE account_plan_before SET until = until - interval '1 day'")
    plan_choice.choose(connection, account.id, "free", actor="owner")
    assert accounts.require(connection, account.id).plan_id == "free"


def test_a_suspended_account_cannot_change_its_plan(connection, account):
    accounts.set_status(connection, account.id, "suspended", actor="operator")
    with pytest.raises(Problem) as raised:
        plan_choice.choose(connection, account.id, "pro", actor="owner")
    assert raised.value.code == "account_suspended"
