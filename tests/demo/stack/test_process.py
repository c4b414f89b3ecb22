"""A child process of the demo: errors if it does not start, and its environment."""

import pytest

from keygauge_demo.settings import DemoError
from keygauge_demo.stack.process import Process

UNUSED_URL = "http://127.0.0.1:9/"  # the port of the discard service: nothing answers there


def test_error_of_a_process_that_dies_at_start_has_its_last_output(tmp_path):
    part = Process("part", ("-c", "raise SystemExit('out of luck')"), log=tmp_path / "part.log", environ={})
    with pytest.raises(DemoError, match=r"the part stopped while starting.*\n.*out of luck"):
        part.wait_until_ready(UNUSED_URL)


def test_process_that_does_not_answer_in_time_is_reported(tmp_path):
    part = Process("part", ("-c", "import time; time.sleep(30)"), log=tmp_path / "part.log", environ={})
    try:
        with pytest.raises(DemoError, match=r"the part did not answer at .* within 0 s"):
            part.wait_until_ready(UNUSED_URL, timeout_s=0)
    finally:
        part.kill()


def test_process_does_not_inherit_settings_of_another_service(tmp_path, monkeypatch):
    monkeypatch.setenv("KEYGAUGE_MODE", "observe")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    show = "import os; print(*sorted(name for name in os.environ if name[:4] in ('KEYG', 'OTEL')))"
    log = tmp_path / "part.log"
    part = Process("part", ("-c", show), log=log, environ={"KEYGAUGE_SPOOL_DIR": "spool"})
    part._popen.wait(100)
    assert log.read_text().split() == ["KEYGAUGE_SPOOL_DIR"]
