import socket
import urllib.request
from contextlib import ExitStack
from urllib.parse import urlsplit

import psutil
from polling import until

from keygauge_keyservice import database


def test_workers_exit_if_the_supervisor_is_killed(serve):
    process, _ = serve("--workers", "2")
    workers = psutil.Process(process.pid).children()
    assert len(workers) >= 2
    process.kill()
    process.wait()
    assert psutil.wait_procs(workers, timeout=100)[1] == []


def test_health_checks_wait_for_no_other_request(serve, empty_database_url):
    _, url = serve("--threads", "2")
    place = urlsplit(url)
    head = "POST /v1/events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer kgs_wrong\r\nContent-Length: 0\r\n\r\n"
    with ExitStack() as open_ones:
        observer = open_ones.enter_context(database.connect(empty_database_url))
        observer.autocommit = True
        locked = open_ones.enter_context(database.connect(empty_database_url))
        locked.execute("LOCK TABLE token")
        for _ in range(5):  # more than there are threads
            sock = open_ones.enter_context(socket.create_connection((place.hostname, place.port)))
            sock.sendall(head.encode())
        until(lambda: observer.execute("SELECT FROM pg_locks WHERE NOT granted").fetchone() is not None)
        for path in ("/healthz", "/readyz"):
            with urllib.request.urlopen(url + path, timeout=10) as answer:
                assert answer.status == 200
