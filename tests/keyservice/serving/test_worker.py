import psutil


def test_workers_exit_if_the_supervisor_is_killed(serve):
    process, _ = serve("--workers", "2")
    workers = psutil.Process(process.pid).children()
    assert len(workers) >= 2
    process.kill()
    process.wait()
    assert psutil.wait_procs(workers, timeout=100)[1] == []
