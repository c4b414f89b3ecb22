from hypothesis import given
from hypothesis import strategies as st

from keygauge_keyservice.portal.charts.metric import METRICS, average_us, credits_metric, failed
from keygauge_keyservice.usage.sums import UsageSums

COUNT = st.integers(0, 1000)


@st.composite
def sums(draw):
    limited, client, server, others = (draw(COUNT) for _ in range(4))
    cached, more, made = (draw(COUNT) for _ in range(3))
    return UsageSums(
        requests=limited + client + server + others,
        limited=limited,
        client_errors=client,
        server_errors=server,
        input_tokens=cached + more,
        cache_read_tokens=cached,
        output_tokens=made,
        cost_nanousd=draw(COUNT),
        duration_us=draw(COUNT),
    )


@given(sums())
def test_stacked_layers_add_up_to_the_metric(one):
    for metric in METRICS.values():
        parts = [layer.read(one) for layer in metric.layers]
        assert sum(parts) == metric.read(one)
        assert min(parts) >= 0


def test_failures_exclude_limited_calls_and_latency_without_calls_is_zero():
    assert failed(UsageSums(requests=9, limited=3, client_errors=2, server_errors=1)) == 3
    assert average_us(UsageSums()) == 0
    assert average_us(UsageSums(requests=2, duration_us=5)) == 2


def test_credits_are_computed_from_the_cost(app):
    metric = credits_metric(10_000_000)
    with app.test_request_context():
        assert metric.write(metric.read(UsageSums(cost_nanousd=50_000_000))).startswith("5")
