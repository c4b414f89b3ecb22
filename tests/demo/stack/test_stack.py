import socket

import pytest

from keygauge_demo.settings import DemoError, Settings
from keygauge_demo.stack import port
from keygauge_demo.stack.stack import Stack


@pytest.fixture
def settings(tmp_path):
    """Settings with free ports."""
    with port.hold() as portal, port.hold() as api:
        numbers = [held.getsockname()[1] for held in (portal, api)]
    return Settings(*numbers, tmp_path / "state", None)


def enter(settings):
    with Stack(settings):
        pass


def test_only_one_demo_at_a_time_uses_a_state_directory(settings):
    with Stack(settings), pytest.raises(DemoError, match=r"a demo is running on .*state: stop it"):
        enter(settings)
    enter(settings)


def test_unusable_state_directory_is_reported(settings):
    settings.state.write_text("a file")
    with pytest.raises(DemoError, match=r"state cannot be used .*DEMO_STATE"):
        enter(settings)


def test_port_in_use_is_reported_with_the_fix_and_releases_the_state(settings):
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", settings.port_api))
        other.listen()
        message = rf"port {settings.port_api} is taken .*DEMO_PORT_API={settings.port_api + 1} make demo"
        with pytest.raises(DemoError, match=message):
            enter(settings)
    enter(settings)
