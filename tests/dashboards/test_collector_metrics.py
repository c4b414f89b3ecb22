from keygauge import metrics, service_metrics
from keygauge_dashboards import collector_metrics


def test_the_collectors_names_are_none_of_ours():
    ours = {one.name for one in service_metrics.ALL}
    ours |= {one.name for one in vars(metrics).values() if isinstance(one, metrics.Metric)}
    assert not ours & {one.name for one in collector_metrics.ALL}
    assert all(one.prometheus_name.startswith("otelcol_") for one in collector_metrics.ALL)
