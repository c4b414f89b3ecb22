import re

from keygauge_dashboards import uids
from keygauge_dashboards.dashboards.suite import pages
from keygauge_dashboards.thresholds import Thresholds


def test_uids_belong_to_one_dashboard_each_and_are_valid_in_grafana():
    named = [value for name, value in vars(uids).items() if name.isupper()]
    assert sorted(named) == sorted(page.uid for page in pages(Thresholds()))
    assert all(re.fullmatch(r"[a-z-]{1,40}", uid) for uid in named)
