from keygauge_keyservice.errors import FieldError, Problem, invalid, not_found


def test_problem_document_has_a_stable_code():
    problem = Problem(409, "key_deleted", "It is gone.", headers={"Retry-After": "1"})
    assert problem.document() == {
        "type": "urn:keygauge:problem:key_deleted",
        "title": problem.document()["title"],
        "status": 409,
        "code": "key_deleted",
        "detail": "It is gone.",
    }
    assert problem.document()["title"]
    assert (str(problem), problem.headers) == ("It is gone.", {"Retry-After": "1"})


def test_problem_lists_every_invalid_field():
    problem = invalid(FieldError("name", "missing", "is required"), FieldError("unit", "wrong", "must be a unit"))
    assert (problem.status, problem.code) == (422, "invalid")
    assert problem.detail == "name: is required; unit: must be a unit"
    assert [error["field"] for error in problem.document()["errors"]] == ["name", "unit"]


def test_not_found_does_not_repeat_a_full_key_given_as_an_id():
    secret = "kg_live_abcdefghijkl_0123456789"
    assert secret not in str(not_found("key", secret))
    assert not_found("plan", "pro").code == "plan_not_found"
    assert "'pro'" in str(not_found("plan", "pro"))
