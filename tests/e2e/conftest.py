"""Fixtures with a real key service, the real demo API, and servers."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # programs that tests start can also be imported

import serving
from ports import free_port
from stack import Stack, fresh_database, look_until


@pytest.fixture(scope="session")
def eventually():
    """`eventually(look, expected)` calls `look` until it returns the expected value, and asserts it."""
    return look_until


@pytest.fixture
def cold_stack(database_url, tmp_path):
    """A stack that is not running yet."""
    stack = Stack(database_url, tmp_path)
    yield stack
    stack.stop()


@pytest.fixture
def stack(cold_stack):
    """A running stack."""
    cold_stack.start_service()
    cold_stack.start_api()
    return cold_stack


@pytest.fixture(scope="module")
def shared_stack(postgresql, _template, tmp_path_factory):
    """A running stack shared by the tests of a module."""
    with fresh_database(postgresql, _template) as url:
        stack = Stack(url, tmp_path_factory.mktemp("stack"))
        try:
            stack.start_service()
            stack.start_api()
            yield stack
        finally:
            stack.stop()


@pytest.fixture
def collector():
    """A receiver of OTLP metrics."""
    collector = serving.Collector()
    yield collector
    collector.close()


@pytest.fixture
def servers(collector, tmp_path):
    """Start servers, which are stopped after the test."""
    servers = serving.Servers(tmp_path, collector)
    yield servers
    servers.stop()


@pytest.fixture
def serve(servers):
    """`serve(command, files, stack)` serves an app with a command and returns the port and process."""

    def serve(command, files, stack, **options):
        port = free_port()
        return port, servers.start(command, files, stack, port=port, **options)

    return serve


@pytest.fixture(scope="session")
def key_service(postgresql, _template, tmp_path_factory):
    """A key service shared by tests that only use it, each with its own keys."""
    with fresh_database(postgresql, _template) as url:
        stack = Stack(url, tmp_path_factory.mktemp("stack"))
        try:
            stack.start_service()
            yield stack
        finally:
            stack.stop()
