"""Process shutdown: its events and metrics are delivered, even if it gets several signals."""

import multiprocessing
import signal

from worker import PATIENCE_S, serve


def test_second_signal_does_not_interrupt_the_shutdown(service, tmp_path):
    context = multiprocessing.get_context("spawn")
    began, told = context.Event(), context.Event()
    _, token = service.key()
    options = {
        "service_url": service.url,
        "service_token": "test-service-token-0123456789",
        "spool_dir": tmp_path / "spool",
        "wait_s": 10.0,
    }
    worker = context.Process(target=serve, args=(options, token, tmp_path / "exported", began, told))
    worker.start()
    assert began.wait(PATIENCE_S)
    worker.terminate()  # as hypercorn does to all workers once the first has ended
    told.set()
    worker.join(PATIENCE_S)
    assert worker.exitcode == -signal.SIGTERM
    assert "keygauge.requests" in (tmp_path / "exported").read_text()
    assert len(service.events(1)) == 1
