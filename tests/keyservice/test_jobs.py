from datetime import timedelta
from threading import Event

import pytest

from keygauge_keyservice import jobs
from keygauge_keyservice.ledger.replicas import replica_check

pytestmark = pytest.mark.usefixtures("metered")


def test_job_runs_once_per_interval(connection, database_url):
    done = []
    todo = [jobs.Job("test", timedelta(hours=1), lambda _: done.append(1))]
    assert jobs.do_due(connection, todo) == ["test"]
    assert jobs.do_due(connection, todo) == []
    connection.execute("UPDATE job SET done_at = done_at - interval '2 hours'")
    assert jobs.do_due(connection, todo) == ["test"]
    assert len(done) == 2


def test_maintenance_jobs_run(connection):
    todo = jobs.maintenance_jobs(retention_days=400)
    assert jobs.do_due(connection, todo) == [job.name for job in todo]
    assert replica_check.find_check(connection).requests == 0
    rows = connection.execute("SELECT count(*) AS n FROM pg_inherits WHERE inhparent = 'event'::regclass").fetchone()
    assert rows["n"] == 3


def test_runner_replaces_a_connection_whose_statements_a_migration_made_invalid(connection, database_url):
    read, has_changed, is_done = Event(), Event(), Event()

    def do(own):
        own.execute("SELECT * FROM plan", prepare=True)
        (is_done if has_changed.is_set() else read).set()

    runner = jobs.JobRunner(database_url, [jobs.Job("test", timedelta(0), do)], interval_s=0.01)
    runner.start()
    assert read.wait(100)
    connection.execute("ALTER TABLE plan ADD COLUMN added_later integer")
    has_changed.set()
    assert is_done.wait(100)
    runner.stop(100)


def test_runner_continues_after_a_failed_job(database_url, caplog):
    tries, is_done = [], Event()

    def do(_):
        tries.append(1)
        if len(tries) == 1:
            raise ValueError
        is_done.set()

    runner = jobs.JobRunner(database_url, [jobs.Job("test", timedelta(0), do)], interval_s=0.01)
    runner.start()
    assert is_done.wait(100)
    runner.stop(100)
    assert "a job failed" in caplog.text
