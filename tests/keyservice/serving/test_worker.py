import psutil


def test_workers_end_with_a_killed_supervisor(serve):
    process, _ = serve("--workers", "2")
    workers = psutil.Process(process.pid).children()
    assert len(workers) >= 2
    process.kill()
    process.wait()
    assert psutil.wait_procs(workers, timeout=100)[1] == []
