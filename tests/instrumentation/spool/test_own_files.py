"""A spool's directory belongs to its user only, and files of other users in it are never read."""

import logging
import os
import shutil

import pytest

from keygauge.spool import own_files
from keygauge.spool.segment import SpoolReader, segments
from keygauge.spool.spool import Ownership, Spool, clear_kept, foreign_spools, kept_since, others

HERE = "http://127.0.0.1:8080"
OTHER = "ab" * 16


def mode(path):
    return path.stat().st_mode & 0o777


@pytest.fixture
def make_spool():
    """Return `make_spool(directory)`, which opens a spool; the fixture closes it after the test."""
    made = []

    def make_spool(directory):
        made.append(Spool(directory, HERE, most_bytes=10_000, on_drop=lambda _: None))
        return made[-1]

    yield make_spool
    for spool in made:
        spool.close(empty=False)


def read(spool):
    lines, backlog = [], SpoolReader(spool.directory, spool.id)
    while batch := backlog.batch():
        lines += batch.lines
        backlog.acknowledge(batch.first + len(batch.lines), batch)
    return lines


def test_directory_is_created_for_its_user_only(tmp_path, make_spool):
    umask = os.umask(0)
    try:
        spool = make_spool(tmp_path / "state" / "spool")
    finally:
        os.umask(umask)
    assert mode(spool.directory) == 0o700
    assert {mode(path) for path in spool.directory.iterdir()} == {0o600}


def test_open_directory_is_restricted_unless_it_has_other_files(tmp_path, make_spool):
    for name in ("spools", "home"):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(0o755)
    (tmp_path / "home" / "notes.txt").write_text("mine")
    for _ in range(2):
        make_spool(tmp_path / "spools")
    make_spool(tmp_path / "home")
    assert [mode(tmp_path / name) for name in ("spools", "home")] == [0o700, 0o755]


def plant_pipe(path, _):
    os.mkfifo(path)


def plant_link(path, elsewhere):
    path.symlink_to(elsewhere)


def plant_hard_link(path, elsewhere):
    path.hardlink_to(elsewhere)


def plant_directory(path, _):
    path.mkdir()


def plant_another_users(path, elsewhere):
    if os.geteuid():
        pytest.skip("only root gives files away")
    shutil.copy(elsewhere, path)
    os.chown(path, 12345, 12345)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("plant", [plant_pipe, plant_link, plant_hard_link, plant_directory, plant_another_users])
@pytest.mark.parametrize("suffix", ["lock", "kept", "0000000000000000.ndjson"])
def test_foreign_files_are_ignored(tmp_path, make_spool, plant, suffix):
    elsewhere, directory = tmp_path / "elsewhere", tmp_path / "spool"
    elsewhere.write_text('[1,"stolen"]\n')
    spool = make_spool(directory)
    spool.append(b"[1,1]\n")
    plant(directory / f"{OTHER}.{suffix}", elsewhere)
    clear_kept(directory, HERE, epoch="e", keep_s=0, most_bytes=0)
    assert others(directory, HERE) == []
    assert foreign_spools(directory, "http://127.0.0.1:1") == {}
    assert Ownership.take(directory, OTHER) is None
    assert segments(directory, OTHER) == []
    assert kept_since(directory).keys() <= {spool.id}
    assert elsewhere.read_text() == '[1,"stolen"]\n'


def test_deleted_directory_is_recreated_with_the_current_segment(tmp_path, make_spool, caplog):
    spool = make_spool(tmp_path / "spool")
    spool.append(b"[1,1]\n")
    with caplog.at_level(logging.WARNING, "keygauge"):
        for number in (2, 3):
            shutil.rmtree(spool.directory)
            spool.append(b"[1,%d]\n" % number)
            spool.restore()
            spool.restore()
    assert len(caplog.records) == 1
    assert str(spool.directory) in caplog.text
    assert mode(spool.directory) == 0o700
    spool.append(b"[1,4]\n")
    assert read(spool) == [b"[1,%d]\n" % number for number in range(1, 5)]
    assert own_files.find(spool.directory, "*.lock") == [spool.directory / f"{spool.id}.lock"]
    assert Ownership.take(spool.directory, spool.id) is None
