from keygauge_dashboards.thresholds import Thresholds
from keygauge_keyservice.notices import detection
from keygauge_keyservice.portal.pages import notifications


def test_customer_notices_have_the_same_levels_as_alerts(root):
    levels = Thresholds()
    percents = [round(100 * share) for share in levels.quota_levels]
    assert list(detection.THRESHOLDS) == percents[::-1]
    thresholds_text = f"at {', '.join(map(str, percents[:-1]))} and {percents[-1]}"
    assert notifications.KINDS["quota"] == f"Quota or budget {thresholds_text}%"
    assert notifications.KINDS["unused"] == f"Key unused for {levels.unused_days} days"
    page = (root / "docs/how-to/notifications.md").read_text()
    for words in (f"{thresholds_text} %", f"{max(levels.expiry_days)} days before", f"for {levels.unused_days} days"):
        assert words in page
