from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from keygauge_dashboards.alerts.alert import Links, between, of_limit, of_service, subject


@given(st.lists(st.integers(1, 100), min_size=1, max_size=5, unique=True).map(sorted))
def test_only_one_level_fires_at_a_time(levels):
    conditions = list(between("x", levels))
    assert [level for level, _ in conditions] == levels
    for (_, condition), following in pairwise([*conditions, (None, None)]):
        assert (" < " in condition) == (following[0] is not None)
    for value in range(102):
        firing = [level for level, condition in conditions if _holds(condition, value)]
        assert firing == [level for level in levels if level <= value][-1:]


def _holds(condition, value):
    _, lower, *upper = condition.replace("x ", "").replace(">= ", " ").replace("< ", " ").split(" ")
    bounds = [float(part) for part in (lower, *upper) if part]
    return value >= bounds[0] and (len(bounds) == 1 or value < bounds[1])


def test_links_select_the_subject_of_an_alert():
    assert Links(runbook="https://docs.example/x").runbook_of("UsageSpike") == "https://docs.example/x#usagespike"
    address = subject("keygauge-key", key="id", account="account")
    assert address.startswith("/d/keygauge-key?from=now-6h&to=now")
    assert "&var-key={{ $labels.id | urlquery }}" in address


def test_links_select_labels_that_only_some_alerts_have():
    assert of_service("x").endswith(
        "{{ with $labels.deployment_environment_name }}&var-env={{ . | urlquery }}{{ end }}"
    )
    assert of_limit("x").endswith("{{ with $labels.key }}&var-key={{ . | urlquery }}{{ end }}")
