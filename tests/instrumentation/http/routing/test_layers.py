"""The search for the app that routes."""

from keygauge.clock import SECOND
from keygauge.http.routing.layers import HostSearch


class Wrapper:
    def __init__(self, app=None):
        self.app = app

    def __call__(self):
        raise NotImplementedError


def test_app_assembled_later_is_found_within_a_second():
    host, wrapper, now = Wrapper(), Wrapper(), [0]
    search = HostSearch(wrapper, lambda app: app is host, clock=lambda: now[0])
    assert not search.finds()
    wrapper.app = host
    assert not search.finds()
    now[0] = SECOND
    assert search.finds()


def test_app_without_a_router_is_searched_once_per_second():
    walked, now = [], [0]
    search = HostSearch(Wrapper(), lambda app: walked.append(app) is not None, clock=lambda: now[0])
    for _ in range(3):
        assert not search.finds()
    assert len(walked) == 1
