import pytest

from keygauge_keyservice.keys import key_limits, keys


def test_budgets_are_shown_in_dollars_and_credits(run):
    limits = ("--limit", "budget=$25.50:usd:month", "--limit", "credits=500:credit@0.01:day:key")
    shown = run("plans", "create", "paid", *limits)
    assert "budget: $25.50 / month" in shown
    assert "credits: 500 credit of $0.01 / day per key" in shown


def test_weighted_units_are_shown_with_their_weights(run):
    shown = run("plans", "create", "paid", "--limit", "a=1000:points(input+4*output):month")
    assert "a: 1,000 points (input+4*output) / month" in shown


def test_windows_are_durations(run):
    shown = run("plans", "create", "free", "--limit", "a=1:request:90s", "--limit", "b=2:request:1h")
    assert "a: 1 request / 90s" in shown
    assert "b: 2 request / 1h" in shown


def test_periods_are_shown_with_their_anchor_and_zone(run):
    billed = "billed=5:request:month,anchor=2026-01-15,zone=Europe/Berlin"
    shown = run("plans", "create", "free", "--limit", billed, "--limit", "trial=9:request:lifetime")
    assert "billed: 5 request / month from 2026-01-15 (Europe/Berlin)" in shown
    assert "trial: 9 request / lifetime" in shown


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("a=1:request:60s,anchor=2026-01-15", "the anchor only applies to the periods week, month, quarter, year"),
        ("a=1:request:day,zone=UTC+3", "the time zone must be an IANA time zone such as Europe/Berlin"),
        ("rpm=-1:request:60s", "the amount must be an integer from 0"),
        (
            "rpm=5:calls:60s",
            "the unit must be one of concurrent, credit, input_token, usd, output_token, request",
        ),
        ("rpm=5:request", "the window must be one such as 60s, 1h, day or month"),
        ("rpm=5:request:2d", "the window must be 1s to 1d, or one of hour, day, week, month"),
        ("rpm=5:request:0s", "the window must be 1s to 1d, or one of hour"),
        ("at_once=2:concurrent:10s", "the window must be one such as 60s"),
        ("budget=many:usd:month", "the amount must be an amount in US dollars"),
        ("RPM=5:request:60s", "the name must be 1 to 40 of a-z"),
        ("rpm", "the amount is missing, as in rpm=600:request:1m"),
        ("rpm:600:request:1m", "the amount is missing, as in rpm=600:request:1m"),
        ("rpm=5:request:1m,", "an option is missing after a comma"),
        ("rpm=5:request:month,smooth", "smooth only applies to rates, with a window such as 60s"),
        ("a=5:credit@0,01:month", "credit cannot contain a comma: write 0.01"),
        ("a=5:points():month", "the weights must be a sum such as input+4*output"),
        ("a=5:points(input*4):month", "the weights must be a sum such as input+4*output"),
        ("a=5:points(2*cached):month", "the weights must be a sum such as input+4*output"),
    ],
)
def test_error_repeats_the_invalid_limit_as_given(run, limit, message):
    complaint = run("plans", "create", "free", "--limit", limit, code=1)
    assert complaint.startswith(f"keygauge: --limit {limit}: {message}")
    assert not any(word in complaint for word in ("nanousd", "window_s", "[0]"))


def test_errors_about_several_limits_name_the_option(run, account, connection):
    run("keys", "create", "prod", "--account", "Acme")
    twice = ("--limit", "rpm=60:request:60s", "--limit", "rpm=600:request:60s")
    assert "--limit 2 limits are named 'rpm'" in run("plans", "create", "pro", *twice, code=1)
    many = [f"--limit=a{number}=1:request:1s" for number in range(21)]
    assert "--limit must be a list of at most 20" in run("keys", "update", "prod", *many, code=1)
    assert key_limits.find(connection, keys.list_keys(connection, account.id)[0].id) == []
