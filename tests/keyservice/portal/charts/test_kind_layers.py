import pytest

from keygauge_keyservice.portal.charts.kind_layers import layers_of_kinds
from keygauge_keyservice.usage.sums import DetailedSums

POINTS = [
    DetailedSums(requests=3, input_tokens=90, cache_read_tokens=40, output_tokens=20, details={"web_searches": 2}),
    DetailedSums(requests=1, input_tokens=0, output_tokens=70),
    DetailedSums(),
]


@pytest.fixture
def layers(app):
    def layers(points, metric):
        with app.test_request_context():
            return [(layer.name, layer.values) for layer in layers_of_kinds(points, metric)]

    return layers


def test_tokens_are_stacked_by_kind_without_other_units_most_used_first(layers):
    assert layers(POINTS, "tokens") == [
        ("Output tokens", [20, 70, 0]),
        ("Input tokens", [50, 0, 0]),
        ("Cached input tokens", [40, 0, 0]),
    ]


def test_kinds_beyond_the_colours_are_summed_as_other(layers):
    many = DetailedSums(
        input_tokens=100, cache_read_tokens=30, cache_write_tokens=20, output_tokens=90, reasoning_tokens=8
    )
    more = DetailedSums(input_tokens=9, details={"input_audio": 5, "input_image": 2})
    found = layers([many, more], "tokens")
    assert (len(found), found[-1][0]) == (6, "Other")
    assert [sum(column) for column in zip(*(values for _, values in found), strict=True)] == [190, 9]


def test_usage_without_cost_has_one_layer_of_zeros(layers):
    assert layers(POINTS, "cost") == [("Input tokens", [0, 0, 0])]
