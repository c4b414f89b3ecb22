"""The spool on disk: a killed process loses no written event, no event ships twice, and the size is bounded."""

import os
import signal
import subprocess
import sys
import textwrap
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keygauge.spool import spool as spool_module
from keygauge.spool.segment import Segment, SpoolReader, segment_path, segments
from keygauge.spool.spool import Ownership, Spool, clear_kept, foreign_spools, others

HERE, ELSEWHERE = "http://127.0.0.1:8080", "http://127.0.0.1:8090"


@pytest.fixture
def drops():
    return Counter()


@pytest.fixture
def spool(tmp_path, drops):
    spool = Spool(tmp_path, HERE, most_bytes=10_000, on_drop=lambda reason: drops.update([reason]))
    yield spool
    spool.close(empty=False)


def lines(count, start=0):
    return [b"[%d,1]\n" % number for number in range(start, start + count)]


def fill(spool, count, start=0):
    for line in lines(count, start):
        spool.append(line)


def drain(backlog):
    """Read and acknowledge everything; return (number, line) pairs."""
    taken = []
    while batch := backlog.batch():
        taken += enumerate(batch.lines, batch.first)
        backlog.acknowledge(batch.first + len(batch.lines), batch)
    return taken


def test_lines_are_read_in_order_across_segments(spool):
    fill(spool, 600)  # 625 bytes per segment
    assert len(segments(spool.directory, spool.id)) > 1
    assert drain(SpoolReader(spool.directory, spool.id)) == list(enumerate(lines(600)))


def test_backlog_includes_later_events(spool):
    backlog = SpoolReader(spool.directory, spool.id)
    assert backlog.batch() is None
    fill(spool, 3)
    assert len(drain(backlog)) == 3
    fill(spool, 400, start=3)
    assert drain(backlog) == list(enumerate(lines(400, 3), 3))
    assert backlog.next == spool.next == 403


def test_acknowledgement_beyond_the_batch_skips_events(spool):
    fill(spool, 600)
    backlog = SpoolReader(spool.directory, spool.id)
    batch = backlog.batch()
    backlog.acknowledge(500, batch)
    assert backlog.batch().first == 500


def test_partial_acknowledgement_keeps_the_rest(spool):
    fill(spool, 10)
    backlog = SpoolReader(spool.directory, spool.id)
    backlog.acknowledge(4, backlog.batch())
    assert backlog.batch().first == 4


def test_finished_segments_are_deleted_to_make_room(spool, drops):
    backlog = SpoolReader(spool.directory, spool.id)
    for start in range(0, 30_000, 100):
        fill(spool, 100, start)
        drain(backlog)
        spool.forget(backlog.finished())
    assert not drops
    assert len(segments(spool.directory, spool.id)) <= 2


def test_full_spool_keeps_the_oldest_and_counts_drops(spool, drops):
    fill(spool, 5_000)
    kept = drain(SpoolReader(spool.directory, spool.id))
    assert kept == list(enumerate(lines(len(kept))))
    assert drops == {"spool_full": 5_000 - len(kept)}
    assert sum(path.stat().st_size for path in spool.directory.glob("*.ndjson")) <= 10_000


def test_acknowledged_events_make_room_before_their_segment_is_finished(spool, drops):
    line = b"[%d]\n" % 10**96  # 100 bytes, 7 per segment
    for _ in range(104):  # ends within a segment
        spool.append(line)
    assert drops == {"spool_full": 4}
    backlog = SpoolReader(spool.directory, spool.id)
    backlog.acknowledge(3, backlog.batch())
    spool.forget(backlog.finished(), offset=backlog.offset)
    for _ in range(4):
        spool.append(line)
    assert drops == {"spool_full": 5}  # 97 are left, so three fit
    assert len(drain(backlog)) == 100


def test_full_disk_drops_whole_events_and_counts_them(tmp_path, drops):
    spool = Spool(tmp_path, HERE, most_bytes=10_000, on_drop=lambda reason: drops.update([reason]))
    fill(spool, 2)
    good = spool._fd
    spool._fd = os.open("/dev/full", os.O_WRONLY)
    spool.append(b"[2,1]\n")
    os.close(spool._fd)
    spool._fd = good
    spool.append(b"[3,1]\n")
    assert drops == {"disk": 1}
    assert [line for _, line in drain(SpoolReader(tmp_path, spool.id))] == [b"[0,1]\n", b"[1,1]\n", b"[3,1]\n"]
    spool.close(empty=False)


def test_incomplete_last_line_is_not_an_event(spool):
    fill(spool, 2)
    os.write(spool._fd, b"[2,")
    assert len(drain(SpoolReader(spool.directory, spool.id))) == 2


def test_empty_spool_leaves_no_files(tmp_path):
    spool = Spool(tmp_path, HERE, most_bytes=1000, on_drop=print)
    spool.close(empty=True)
    assert list(tmp_path.iterdir()) == []


def test_oldest_time_is_that_of_the_first_unacknowledged_event(spool):
    backlog = SpoolReader(spool.directory, spool.id)
    assert backlog.oldest_time_us() is None
    for time_us in (1_790_000_000_000_001, 1_790_000_000_000_002):
        spool.append(b"[%d,1]\n" % time_us)
    assert backlog.oldest_time_us() == 1_790_000_000_000_001
    backlog.acknowledge(1, backlog.batch())
    assert backlog.oldest_time_us() == 1_790_000_000_000_002


CHILD = textwrap.dedent("""
    import os, sys, time
    from pathlib import Path
    from keygauge.spool.spool import Spool
    spool = Spool(Path(sys.argv[1]), sys.argv[2], most_bytes=10_000_000, on_drop=print)
    number = 0
    while True:
        spool.append(b"[%d,1]\\n" % number)
        os.write(1, b"%d\\n" % number)
        number += 1
""")


def test_killed_process_loses_no_written_event_and_its_spool_is_adopted(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path), HERE], stdout=subprocess.PIPE)
    told = [int(child.stdout.readline()) for _ in range(500)]
    (spool_id,) = others(tmp_path, HERE)
    assert Ownership.take(tmp_path, spool_id) is None  # it is alive
    child.send_signal(signal.SIGKILL)
    told += [int(line) for line in child.stdout.read().split(b"\n")[:-1]]  # the last line may be incomplete
    child.wait()
    ownership = Ownership.take(tmp_path, spool_id)
    assert ownership is not None
    kept = drain(SpoolReader(tmp_path, spool_id))
    assert len(kept) >= told[-1] + 1
    assert kept == list(enumerate(lines(len(kept))))
    ownership.delete_spool()
    ownership.release()
    assert list(tmp_path.iterdir()) == []
    child.stdout.close()


def test_ownership_is_not_inherited_across_a_fork(tmp_path):
    spool = Spool(tmp_path, HERE, most_bytes=1000, on_drop=print)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if Ownership.take(tmp_path, spool.id) is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0  # the child could not take its parent's spool
    spool.close(empty=True)


@given(st.lists(st.integers(1, 40), max_size=30), st.integers(64, 4000))
def test_events_ship_once_for_any_order_of_writing_and_acknowledging(tmp_path_factory, rhythm, most_bytes):
    directory = tmp_path_factory.mktemp("spool")
    dropped = []
    spool = Spool(directory, HERE, most_bytes=most_bytes, on_drop=dropped.append)
    backlog = SpoolReader(directory, spool.id)
    shipped, written = [], 0
    for count in rhythm:
        fill(spool, count, written)
        written += count
        if batch := backlog.batch():
            part = batch.lines[: max(1, len(batch.lines) // 2)]
            shipped += part
            backlog.acknowledge(batch.first + len(part), batch)
            spool.forget(backlog.finished())
    shipped += [line for _, line in drain(backlog)]
    assert len(shipped) + len(dropped) == written
    assert len(set(shipped)) == len(shipped)
    assert shipped == sorted(shipped, key=lambda line: int(line[1:].split(b",")[0]))
    spool.close(empty=True)


def test_segments_are_listed_by_number(tmp_path):
    for first in (10, 2, 33):
        (tmp_path / f"s.{first:016d}.ndjson").touch()
    assert [segment.first for segment in segments(tmp_path, "s")] == [2, 10, 33]
    assert isinstance(segments(tmp_path, "s")[0], Segment)


def test_spools_of_the_same_process_are_not_adopted(tmp_path):
    sisters = [Spool(tmp_path, HERE, most_bytes=1000, on_drop=print) for _ in range(2)]
    assert others(tmp_path, HERE) == []
    sisters[0].close(empty=False)
    assert others(tmp_path, HERE) == [sisters[0].id]
    sisters[1].close(empty=True)


def test_closed_spool_drops_events_and_writes_nothing(tmp_path, drops):
    spool = Spool(tmp_path, HERE, most_bytes=1000, on_drop=lambda reason: drops.update([reason]))
    spool.close(empty=True)
    with (tmp_path / "other").open("wb") as other:  # reuses the spool's file descriptor
        spool.append(b"[1]\n")
        assert other.tell() == 0
    assert (tmp_path / "other").read_bytes() == b""
    assert drops == {"closed": 1}


def test_acknowledged_segment_is_released_after_the_disk_was_full(spool):
    fill(spool, 10)
    backlog = SpoolReader(spool.directory, spool.id)
    drain(backlog)
    spool._has_met_full_disk = True
    spool.shrink(backlog.next)
    assert backlog.batch() is None
    spool.forget(backlog.finished())
    assert [path.stat().st_size for path in spool.directory.glob("*.ndjson")] == [0]
    fill(spool, 2, start=10)
    assert drain(backlog) == list(enumerate(lines(2, 10), 10))


def test_spool_of_another_key_service_is_not_adopted(tmp_path):
    Spool(tmp_path, ELSEWHERE, most_bytes=1000, on_drop=print).close(empty=False)
    ours = Spool(tmp_path, HERE, most_bytes=1000, on_drop=print)
    ours.close(empty=False)
    assert others(tmp_path, HERE) == [ours.id]
    assert foreign_spools(tmp_path, HERE) == {ELSEWHERE: 1}


def test_spool_without_an_address_may_be_adopted_by_any(tmp_path):
    spool = Spool(tmp_path, "", most_bytes=1000, on_drop=print)
    spool.close(empty=False)
    assert others(tmp_path, HERE) == others(tmp_path, ELSEWHERE) == [spool.id]
    assert not foreign_spools(tmp_path, HERE)


def test_spool_of_a_live_process_is_not_foreign(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path), ELSEWHERE], stdout=subprocess.PIPE)
    child.stdout.readline()
    assert not foreign_spools(tmp_path, HERE)
    child.kill()
    child.communicate()
    assert foreign_spools(tmp_path, HERE) == {ELSEWHERE: 1}


def test_inspecting_an_adopted_spool_does_not_release_its_lock(tmp_path):
    spool = Spool(tmp_path, ELSEWHERE, most_bytes=1000, on_drop=print)
    spool.close(empty=False)
    adopted = Ownership.take(tmp_path, spool.id)
    assert others(tmp_path, ELSEWHERE) == []
    assert not foreign_spools(tmp_path, HERE)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if Ownership.take(tmp_path, spool.id) is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    adopted.release()


@pytest.fixture
def keeping(tmp_path, drops):
    spool = Spool(tmp_path, HERE, most_bytes=10_000, keep_s=3600, on_drop=lambda reason: drops.update([reason]))
    yield spool
    spool.close(empty=False)


def ship(spool, backlog):
    """Read, acknowledge and forget everything, as the shipper does."""
    taken = []
    while batch := backlog.batch():
        taken += enumerate(batch.lines, batch.first)
        backlog.acknowledge(batch.first + len(batch.lines), batch)
        spool.forget(backlog.finished(), offset=backlog.offset)
    return taken


def files_bytes(spool):
    return sum(path.stat().st_size for path in spool.directory.glob("*.ndjson"))


def test_shipped_events_are_kept_in_half_of_the_space(keeping, drops):
    backlog = SpoolReader(keeping.directory, keeping.id)
    for start in range(0, 10_000, 100):
        fill(keeping, 100, start)
        ship(keeping, backlog)
    assert not drops
    assert 4_000 <= files_bytes(keeping) <= 5_000 + 625


def test_kept_events_make_room_for_new_ones(keeping, drops):
    backlog = SpoolReader(keeping.directory, keeping.id)
    fill(keeping, 600)
    ship(keeping, backlog)
    assert files_bytes(keeping) > 4_000
    written = 0
    while not drops:
        fill(keeping, 1, start=10_000 + written)
        written += 1
    assert 9_990 <= len(b"".join(line for _, line in ship(keeping, backlog))) <= 10_000


def test_expired_kept_segments_are_deleted(keeping, monkeypatch):
    backlog = SpoolReader(keeping.directory, keeping.id)
    fill(keeping, 600)
    ship(keeping, backlog)
    later = spool_module.monotonic() + 3601
    monkeypatch.setattr(spool_module, "monotonic", lambda: later)
    keeping.forget(backlog.finished(), offset=backlog.offset)
    assert len(segments(keeping.directory, keeping.id)) == 1


def test_restored_ledger_gets_kept_events_again(keeping, drops):
    backlog = SpoolReader(keeping.directory, keeping.id)
    fill(keeping, 600)
    ship(keeping, backlog)
    backlog.look_back()
    batch = backlog.batch()
    assert batch.first > 500
    backlog.acknowledge(123, batch)
    keeping.forget(backlog.finished(), offset=backlog.offset)
    assert ship(keeping, backlog) == list(enumerate(lines(600)))[123:]
    assert backlog.batch() is None
    assert not drops


def test_kept_spool_is_adopted_only_in_another_epoch(tmp_path):
    spool = Spool(tmp_path, HERE, most_bytes=1_000, keep_s=3600, on_drop=print)
    fill(spool, 3)
    spool.close(empty=True, epoch="one")
    for epoch in (None, "one"):
        clear_kept(tmp_path, HERE, epoch=epoch, keep_s=3600, most_bytes=1_000)
        assert others(tmp_path, HERE) == []
    clear_kept(tmp_path, ELSEWHERE, epoch="two", keep_s=3600, most_bytes=1_000)
    assert others(tmp_path, HERE) == []
    clear_kept(tmp_path, HERE, epoch="two", keep_s=3600, most_bytes=1_000)
    assert others(tmp_path, HERE) == [spool.id]
    assert len(drain(SpoolReader(tmp_path, spool.id))) == 3


@pytest.mark.parametrize("bound", [{"keep_s": 0, "most_bytes": 1_000}, {"keep_s": 3600, "most_bytes": 10}])
def test_kept_spools_are_bounded_in_age_and_size(tmp_path, bound):
    spool = Spool(tmp_path, HERE, most_bytes=1_000, keep_s=3600, on_drop=print)
    fill(spool, 3)
    spool.close(empty=True, epoch="one")
    clear_kept(tmp_path, ELSEWHERE, epoch="one", **bound)
    assert list(tmp_path.iterdir()) == []


def test_incomplete_line_in_the_last_segment_hides_no_events(keeping):
    fill(keeping, 100)
    path = segment_path(keeping.directory, keeping.id, 100_000)
    path.write_bytes(b"[1,")
    backlog = SpoolReader(keeping.directory, keeping.id)
    backlog.look_back()
    assert backlog.batch() is not None
