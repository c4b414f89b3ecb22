from keygauge_keyservice.commands.connection.explanation import explain, explain_term, plain


def problem(field, code="wrong", detail="must be a number"):
    return {"detail": "…", "errors": [{"field": field, "code": code, "detail": detail}]}


def test_error_without_fields_is_its_detail_or_a_default():
    assert explain({"detail": "The key is deleted."}, None) == "The key is deleted."
    for nothing in ({}, {"detail": None}, {"detail": "", "errors": []}):
        assert explain(nothing, None) == "the key service did not say why"


def test_fields_have_their_command_line_names():
    subjects = {
        "monthly_nanousd": "--price",
        "name": "the name",
        "rotate_every_days": "--rotate-every-days",
        "": "the request",
    }
    for field, subject in subjects.items():
        assert explain(problem(field), {}) == f"{subject} must be a number"


def test_list_items_are_shown_as_given():
    body = {"limits": [{"name": "rpm"}, {}], "routes": ["/v1", "v2"]}
    assert explain(problem("limits[0].amount"), body) == "--limit 'rpm': the amount must be a number"
    assert explain(problem("limits[1].smooth"), body) == "--limit '': smooth must be a number"
    assert explain(problem("routes[1]"), body) == "--routes 'v2' must be a number"
    for other in (None, {}, {"routes": "x"}, {"routes": []}):
        assert explain(problem("routes[1]"), other) == "--routes '' must be a number"


def test_several_errors_are_joined_into_one_sentence():
    two = {"errors": problem("name")["errors"] + problem("window_s", code="wrong_window")["errors"]}
    assert explain(two, {}) == (
        "the name must be a number; "
        "the window must be one such as 60s, 1h, day or month; limits of concurrency have none"
    )
    assert explain_term("unit", "wrong_window", "…").startswith("the window must be one")
    assert explain_term("model", "wrong", "is too long") == "the model is too long"


def test_ranges_of_durations_are_durations():
    too_long = problem("grace_s", code="wrong_number", detail="must be an integer from 0 to 2592000")
    assert explain(too_long, {}) == "--grace must be at most 30d"


def test_field_names_of_the_api_are_replaced():
    assert plain("at most 1000000000 nano-USD") == "at most $1.000000000"
    assert plain("credit_nanousd, nanousd or token") == "a credit's worth, usd or token"
