from keygauge_keyservice.serving.assignment import Assignment


def test_an_assignment_survives_writing_and_reading():
    for pages in (None, "/run/keygauge/pages \u20ac.sock"):
        assignment = Assignment("replicas", (3, 4), 5, 8, pages)
        read = Assignment.read(assignment.write())
        assert (read.role, list(read.listeners), read.supervisor, read.threads, read.pages) == (
            *("replicas", [3, 4], 5, 8, pages),
        )
