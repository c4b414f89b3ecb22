from keygauge.command_line.count import counted


def test_one_thing_is_singular():
    assert [counted(number, "key") for number in (0, 1, 2, 3_000)] == ["0 keys", "1 key", "2 keys", "3,000 keys"]
