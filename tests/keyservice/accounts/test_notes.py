import pytest

from keygauge_keyservice.accounts import accounts, notes, plans
from keygauge_keyservice.accounts.notes import NewNote
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.journal import audit
from keygauge_keyservice.reading import attempt


def test_a_note_is_in_the_accounts_audit_log(connection):
    plans.create(connection, plan_id="pro", name="Pro", limits=[], actor="test")
    account = accounts.create(connection, name="Acme", plan_id="pro", actor="test")
    notes.add(connection, account.id, NewNote(" Called about limits\n"), actor="op@example.com")
    [entry] = audit.find_entries(connection, account.id, action="note.add")
    assert (entry.actor, entry.subject, entry.after) == ("op@example.com", account.id, {"text": "Called about limits"})


def test_a_note_needs_an_account(connection):
    with pytest.raises(Problem) as raised:
        notes.add(connection, "nothing", NewNote("x"), actor="op@example.com")
    assert raised.value.status == 404


@pytest.mark.parametrize("text", ["", "  \n", "x" * 2_001, "a\0b", None, 5])
def test_a_wrong_note_is_refused(text):
    note, errors = attempt(NewNote, {"text": text})
    assert note is None
    assert [error.field for error in errors] == ["text"]
