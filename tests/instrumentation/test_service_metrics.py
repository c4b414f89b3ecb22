from keygauge import service_metrics
from keygauge.metrics import label


def test_every_metric_is_listed_and_its_labels_are_valid_in_prometheus():
    assert service_metrics.LIMIT_USED in service_metrics.ALL
    for metric in service_metrics.ALL:
        assert metric.description
        assert all(label(name).isidentifier() for name in metric.attributes)
        assert bool(metric.buckets) == (metric.kind == "histogram")


def test_metrics_of_a_limit_can_be_joined():
    used, most, reset = (service_metrics.LIMIT_USED, service_metrics.LIMIT_MAX, service_metrics.LIMIT_RESET)
    assert used.attributes == most.attributes == reset.attributes
