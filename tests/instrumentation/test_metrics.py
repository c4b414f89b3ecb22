from keygauge import metrics, service_metrics

OWN = [value for value in vars(metrics).values() if isinstance(value, metrics.Metric)]


def test_names_are_unique_in_opentelemetry_and_prometheus():
    every = OWN + list(service_metrics.ALL)
    assert len({metric.name for metric in every}) == len({metric.prometheus_name for metric in every}) == len(every)


def test_prometheus_names_have_the_suffixes_of_the_default_translation():
    names = [
        metrics.Metric("a.b", "counter", "s", (), "").prometheus_name,
        metrics.Metric("a.b", "counter", "{call}", (), "").prometheus_name,
        metrics.Metric("a.b", "gauge", "By", (), "").prometheus_name,
        metrics.Metric("a.b_c", "histogram", "s", (), "").prometheus_name,
    ]
    assert names == ["a_b_seconds_total", "a_b_total", "a_b_bytes", "a_b_c_seconds"]
    assert metrics.label("http.response.status_code") == "http_response_status_code"


def test_only_histograms_have_buckets_in_ascending_order():
    for metric in OWN:
        assert bool(metric.buckets) == (metric.kind == "histogram")
        assert list(metric.buckets) == sorted(set(metric.buckets))
        assert len(set(metric.attributes)) == len(metric.attributes)
