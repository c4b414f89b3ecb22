import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keygauge.spool.segment import BATCH_LINES, SpoolReader, segment_path, segments


def write(directory, first, count, *, spool="a", torn=b""):
    lines = b"".join(b"[%d,1]\n" % number for number in range(first, first + count))
    segment_path(directory, spool, first).write_bytes(lines + torn)


def drain(reader):
    taken = []
    while batch := reader.batch():
        taken += [batch.first + number for number, _ in enumerate(batch.lines)]
        reader.acknowledge(batch.first + len(batch.lines), batch)
    return taken


def test_segments_are_sorted_by_number_and_other_files_ignored(tmp_path):
    for first in (100, 0, 20):
        write(tmp_path, first, 1)
    write(tmp_path, 5, 1, spool="b")
    (tmp_path / "a.lock").touch()
    segment_path(tmp_path, "a", 7).symlink_to(segment_path(tmp_path, "a", 0))
    assert [segment.first for segment in segments(tmp_path, "a")] == [0, 20, 100]


@settings(max_examples=20)  # each creates files
@given(st.lists(st.integers(0, 30), min_size=1, max_size=6), st.data())
def test_lines_are_read_once_and_in_order_for_any_acknowledgements(tmp_path_factory, counts, data):
    directory, first = tmp_path_factory.mktemp("spool"), 0
    for count in counts:
        write(directory, first, count)
        first += count
    reader, acknowledged = SpoolReader(directory, "a"), 0
    for _ in range(200):
        batch = reader.batch()
        if batch is None:
            break
        assert batch.first == acknowledged
        assert batch.lines == [b"[%d,1]\n" % number for number in range(batch.first, batch.first + len(batch.lines))]
        acknowledged += data.draw(st.integers(1, len(batch.lines)))
        reader.acknowledge(acknowledged, batch)
    assert acknowledged == first


def test_incomplete_last_line_is_read_once_it_is_complete(tmp_path):
    write(tmp_path, 0, 2, torn=b"[2,")
    reader = SpoolReader(tmp_path, "a")
    assert drain(reader) == [0, 1]
    write(tmp_path, 0, 3)
    assert drain(reader) == [2]


def test_batch_size_is_bounded(tmp_path):
    write(tmp_path, 0, BATCH_LINES + 5)
    reader = SpoolReader(tmp_path, "a")
    assert len(reader.batch().lines) == BATCH_LINES
    assert len(drain(reader)) == BATCH_LINES + 5


def test_acknowledgement_may_be_before_or_after_a_batch(tmp_path):
    write(tmp_path, 0, 5)
    write(tmp_path, 5, 5)
    reader = SpoolReader(tmp_path, "a")
    batch = reader.batch()
    reader.acknowledge(8, batch)
    assert drain(reader) == [8, 9]
    reader.acknowledge(3, batch._replace(first=10))
    assert drain(reader) == [3, 4, 5, 6, 7, 8, 9]


def test_deleted_segments_are_skipped(tmp_path):
    for first in (0, 5, 10):
        write(tmp_path, first, 5)
    reader = SpoolReader(tmp_path, "a")
    assert reader.batch().first == 0
    segment_path(tmp_path, "a", 0).unlink()
    segment_path(tmp_path, "a", 5).unlink()
    assert drain(reader) == [10, 11, 12, 13, 14]
    assert reader.oldest() == 10


def test_segment_is_finished_once_a_later_one_is_open(tmp_path):
    write(tmp_path, 0, 1)
    reader = SpoolReader(tmp_path, "a")
    assert drain(reader) == [0]
    assert reader.finished() == []
    write(tmp_path, 1, 1)
    assert drain(reader) == [1]
    assert [segment.first for segment in reader.finished()] == [0]


def test_look_back_starts_at_the_last_segment_with_events(tmp_path):
    write(tmp_path, 0, 5)
    write(tmp_path, 5, 5)
    write(tmp_path, 10, 0)
    reader = SpoolReader(tmp_path, "a")
    assert len(drain(reader)) == 10
    reader.look_back()
    assert drain(reader) == [5, 6, 7, 8, 9]


@pytest.mark.parametrize(("line", "time_us"), [(b"[17,1]\n", 17), (b"[x,1]\n", None), (b"[17", None), (b"", None)])
def test_the_time_of_the_oldest_event_is_its_first_field(tmp_path, line, time_us):
    reader = SpoolReader(tmp_path, "a")
    assert reader.oldest_time_us() is None
    segment_path(tmp_path, "a", 0).write_bytes(line)
    assert reader.oldest_time_us() == time_us
    assert reader.oldest() == 0
