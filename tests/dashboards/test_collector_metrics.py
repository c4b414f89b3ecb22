from keygauge import metrics, service_metrics
from keygauge_dashboards import collector_metrics


def test_collector_metrics_do_not_clash_with_keygauge_metrics():
    ours = {one.name for one in service_metrics.ALL}
    ours |= {one.name for one in vars(metrics).values() if isinstance(one, metrics.Metric)}
    assert not ours & {one.name for one in collector_metrics.ALL}
    assert all(one.prometheus_name.startswith("otelcol_") for one in collector_metrics.ALL)
