import time

from keygauge import clock


def test_clock_never_goes_back_and_counts_nanoseconds():
    readings = [clock.now_ns() for _ in range(1000)]
    assert readings == sorted(readings)
    assert abs(clock.now_ns() / clock.SECOND - time.clock_gettime(time.CLOCK_BOOTTIME)) < 60


def test_clock_name_is_the_same_per_machine_and_none_in_another_namespace(monkeypatch, tmp_path):
    assert clock.name() == clock.name()
    proc = tmp_path / "proc"
    (proc / "self/ns").mkdir(parents=True)
    (proc / "self/ns/time").touch()
    (proc / "sys/kernel/random").mkdir(parents=True)
    (proc / "sys/kernel/random/boot_id").write_text("one\n")
    monkeypatch.setattr(clock, "_PROC", proc)
    assert clock.name() is None  # another namespace, by its number
    monkeypatch.setattr(clock, "_NAMESPACE", (proc / "self/ns/time").stat().st_ino)
    assert clock.name() == "one"
    (proc / "sys/kernel/random/boot_id").write_text("\n")
    assert clock.name() is None
    monkeypatch.setattr(clock, "_PROC", tmp_path / "nowhere")
    assert clock.name() is None
