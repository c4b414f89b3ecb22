import pytest

from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.accounts.plans import Limit
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.journal import audit
from keygauge_keyservice.limits.limit_terms import parse_limit

RPM = Limit(name="rpm", unit="request", amount=60, window_s=60)
BUDGET = Limit(name="budget", unit="nanousd", amount=25_500_000_000, period="month")
CREDITS = Limit(name="credits", unit="nanousd", amount=5 * 10**9, period="month", credit_nanousd=10**7)
MONTHLY = Limit(name="monthly", unit="request", amount=1000, period="month")


@pytest.fixture
def plan(connection):
    return plans.create(connection, plan_id="free", name="Free", limits=[RPM, MONTHLY], actor="test")


def ids(plan):
    return {limit.name: limit.id for limit in plan.limits}


def test_a_limit_that_keeps_its_measure_keeps_its_id(connection, plan):
    other = Limit(name="rpm", unit="request", amount=5, window_s=60, when_down="safe", dry_run=True)
    changed = plans.replace_limits(connection, "free", [other, MONTHLY], actor="test")
    assert ids(changed) == ids(plan)
    (rpm, _) = changed.limits
    assert (rpm.amount, rpm.when_down, rpm.dry_run) == (5, "safe", True)


@pytest.mark.parametrize(
    "other",
    [
        Limit(name="rpm", unit="token", amount=60, window_s=60),
        Limit(name="rpm", unit="request", amount=60, window_s=30),
        Limit(name="rpm", unit="request", amount=60, period="day"),
        Limit(name="rpm", unit="request", amount=60, window_s=60, subject="key"),
    ],
)
def test_a_limit_with_a_new_measure_starts_at_zero(connection, plan, other):
    account = accounts.create(connection, name="Acme", plan_id="free", actor="test")
    for number in ids(plan).values():
        connection.execute(
            "INSERT INTO limit_state (id, account_id) VALUES (%s, %s)", (f"{number}:{account.id}", account.id)
        )
    changed = plans.replace_limits(connection, "free", [other, MONTHLY], actor="test")
    assert ids(changed)["rpm"] != ids(plan)["rpm"]
    left = [row["id"] for row in connection.execute("SELECT id FROM limit_state")]
    assert left == [f"{ids(plan)['monthly']}:{account.id}"]


def test_a_duplicate_id_is_rejected_and_changes_nothing(connection, plan):
    with pytest.raises(Problem, match="already"):
        plans.create(connection, plan_id="free", name="Other", limits=[], actor="test")
    assert plans.require(connection, "free") == plan


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("rpm=60:request:60s", RPM),
        ("monthly=1000:request:month", MONTHLY),
        ("budget=25.5:usd:month", BUDGET),
        ("budget=25500000000:nanousd:month", BUDGET),
        ("credits=500:credit@0.01:month", CREDITS),
        ("parallel=3:concurrent", Limit(name="parallel", unit="concurrent", amount=3)),
        ("itpm=50000:input_token:1m", Limit(name="itpm", unit="input_token", amount=50_000, window_s=60)),
        (
            "otpm=9:output_token:1m,output_default=2",
            Limit(name="otpm", unit="output_token", amount=9, window_s=60, output_default=2),
        ),
        ("yearly=9:request:year", Limit(name="yearly", unit="request", amount=9, period="year")),
        ("tpd=9:token:day:key", Limit(name="tpd", unit="token", amount=9, period="day", subject="key")),
    ],
)
def test_limits_are_parsed_from_the_command_line(text, limit):
    assert parse_limit(text) == limit


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rpm",
        "rpm=",
        "rpm=60",
        "rpm=x:request:60s",
        "rpm=60:request",
        "rpm=60:request:60",
        "rpm=60:request:60s:key:nonsense",
        "rpm=60:request:60s:nobody",
        "rpm=60:request:60s,faster",
        "cost=25,50:usd:month",
        "cost=1e3:usd:month",
        "cost=1_000:usd:month",
        "rpm=1:token:decade",
        "parallel=3:concurrent:60s",
        "cost=3:nanousd",
        "cost=-3:usd:month",
        "cost=0.0000000001:usd:month",
        "cost=nan:usd:month",
        "credits=5:credit:month",
        "credits=5:credit@:month",
        "credits=5:credit@0:month",
        "credits=9007199254740991:credit@1:month",
    ],
)
def test_an_invalid_limit_on_the_command_line_is_rejected(text):
    with pytest.raises(Problem):
        parse_limit(text)


@pytest.mark.parametrize(
    ("text", "field", "detail"),
    [
        ("rpm=600", "unit", "is missing, as in 600:request:1m"),
        ("cost=25,50:usd:month", "amount", "cannot contain a comma: write 25.50, or 1000 for a thousand"),
        ("rpm=1,000:request:1m", "amount", "cannot contain a comma: write 25.50, or 1000 for a thousand"),
        ("cost=9007200:usd:month", "amount", "can be at most 9007199 US dollars"),
        ("credits=5:credit@9007200:month", "credit", "can be at most 9007199 US dollars"),
        ("rpm=600,per_tag", "unit", "is missing, as in 600:request:1m"),
    ],
)
def test_an_invalid_limit_names_the_field_and_the_fix(text, field, detail):
    with pytest.raises(Problem) as raised:
        parse_limit(text)
    assert [(error.field, error.detail) for error in raised.value.errors] == [(field, detail)]


def test_a_plan_has_provider_rules_for_routes(connection, plan):
    changed = plans.set_providers(connection, plan.id, ["/v1/chat/*=deepseek"], actor="test")
    assert (changed.providers, changed.limits) == (("/v1/chat/*=deepseek",), plan.limits)
    assert plans.set_providers(connection, plan.id, [], actor="test").providers == ()
    with pytest.raises(Problem):
        plans.set_providers(connection, "none", [], actor="test")


@pytest.mark.parametrize(
    "text", ["", "deepseek", "v1=deepseek", "/v1=", "/v1=a b", "/v*1=a", "/v1=\n", "/v1=" + "x" * 65]
)
def test_an_invalid_provider_rule_is_rejected(text):
    with pytest.raises(ValueError, match="PATH=PROVIDER"):
        plans.checked_rule(text)


def test_terms_of_a_plan_are_kept_and_recorded(connection, plan):
    assert (plan.prorated, plan.self_service) == (False, False)
    plans.set_terms(connection, plan.id, prorated=True, actor="test")
    plans.set_terms(connection, plan.id, self_service=True, actor="test")
    plans.set_terms(connection, plan.id, prorated=True, self_service=True, actor="test")  # changes nothing
    changed = plans.require(connection, plan.id)
    assert (changed.prorated, changed.self_service) == (True, True)
    assert plans.list_plans(connection) == [changed]
    recorded = [(entry.before, entry.after) for entry in audit.find_entries(connection, None, action="plan.set_terms")]
    assert recorded == [
        ({"self_service": False}, {"self_service": True}),
        ({"prorated": False}, {"prorated": True}),
    ]


def test_a_self_service_plan_must_be_prorated(connection, plan):
    with pytest.raises(Problem) as raised:
        plans.set_terms(connection, plan.id, self_service=True, actor="test")
    assert [error.field for error in raised.value.errors] == ["self_service"]
    plans.set_terms(connection, plan.id, prorated=True, self_service=True, actor="test")
    with pytest.raises(Problem):
        plans.set_terms(connection, plan.id, prorated=False, actor="test")
    plans.set_terms(connection, plan.id, prorated=False, self_service=False, actor="test")
