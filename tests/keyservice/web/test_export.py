from datetime import UTC, datetime

from keygauge_keyservice.web import export

AT = datetime(2030, 1, 31, 12, tzinfo=UTC)


def test_csv_file_is_named_after_the_table(app):
    with app.test_request_context("/"):
        answer = export.as_csv("keys", ["name", "made"], [["a, b", AT], [None, None]])
        text = answer.get_data(as_text=True)
    assert answer.content_type == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="keys.csv"'
    assert [line.split(",")[0] for line in text.splitlines()] == ["name", '"a', ""]


def test_byte_order_mark_is_added_only_on_request(app):
    for query, is_marked in (("?bom=1", True), ("", False), ("?bom=2", False)):
        with app.test_request_context(f"/{query}"):
            text = export.as_csv("keys", ["name"], [["a"]]).get_data(as_text=True)
        assert text.startswith("\ufeff") == is_marked


def test_json_is_a_list_named_after_the_table_with_times_as_text(app):
    with app.test_request_context("/"):
        document = export.as_json("keys", [{"name": "a", "made": AT, "used": 5}]).json
    assert document == {"keys": [{"name": "a", "made": "2030-01-31T12:00:00+00:00", "used": 5}]}
