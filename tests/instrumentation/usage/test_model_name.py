from keygauge.usage.model_name import MAX_CHARACTERS, name_of


def test_name_is_a_string_of_plausible_length():
    longest = "m" * MAX_CHARACTERS
    assert [name_of(name) for name in ("gpt-4o", longest)] == ["gpt-4o", longest]
    assert [name_of(name) for name in ("", longest + "m", None, 4, ["gpt-4o"], {}, b"gpt-4o")] == [None] * 7


def test_gemini_is_named_as_in_its_answers():
    long = "projects/p/locations/global/publishers/google/models/gemini-2.5-flash"
    assert [name_of(name) for name in ("models/gemini-2.5-flash", long)] == ["gemini-2.5-flash"] * 2
    assert [name_of(name) for name in ("models/7B/own.gguf", "projects/p/endpoints/7")] == [
        "models/7B/own.gguf",
        "projects/p/endpoints/7",
    ]
