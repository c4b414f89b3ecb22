"""Cerebras's answers, recognized by their `time_info`."""

import pytest

from keygauge.usage.providers import cerebras, find_host


@pytest.mark.parametrize(("times", "host"), [({"queue_time": 0.1}, cerebras.PROVIDER), (None, None)])
def test_time_info_means_cerebras(times, host):
    assert find_host({"model": "gpt-oss-120b", "time_info": times}) == host
