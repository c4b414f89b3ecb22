from keygauge_demo.api.catalog import MODELS
from keygauge_demo.customers.profiles import ACCOUNTS, PLANS, VISITOR_KEY


def test_plans_and_models_of_accounts_exist():
    plans = {plan.id for plan in PLANS}
    for account in ACCOUNTS:
        assert account.plan in plans
        assert account.email.endswith(".example")
        for key in account.keys:
            assert key.models.keys() <= MODELS.keys()
            assert bool(key.models) == (key.name != VISITOR_KEY)


def test_names_are_unique():
    keys = [key.name for account in ACCOUNTS for key in account.keys]
    for names in (keys, [account.name for account in ACCOUNTS], [account.email for account in ACCOUNTS]):
        assert len(set(names)) == len(names)


def test_disabled_key_and_visitor_key_have_no_live_traffic():
    quiet = [key for account in ACCOUNTS for key in account.keys if not key.is_enabled or key.name == VISITOR_KEY]
    assert len(quiet) == 2
    assert [key.live_per_minute for key in quiet] == [0, 0]
    shares = [key.streamed for account in ACCOUNTS for key in account.keys]
    assert all(0 <= share <= 1 for share in shares)
