import re

from keygauge_dashboards import uids
from keygauge_dashboards.dashboards.suite import pages
from keygauge_dashboards.thresholds import Thresholds


def test_every_uid_is_that_of_one_dashboard_and_one_that_grafana_takes():
    named = [value for name, value in vars(uids).items() if name.isupper()]
    assert sorted(named) == sorted(page.uid for page in pages(Thresholds()))
    assert all(re.fullmatch(r"[a-z-]{1,40}", uid) for uid in named)
