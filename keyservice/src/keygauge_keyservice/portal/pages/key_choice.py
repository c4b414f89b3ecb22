"""Suggestions for key fields while a name is typed, so that no page has to list all keys of an account."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request

from keygauge_keyservice.keys import key_search
from keygauge_keyservice.keys.key_search import QUERY_LENGTH_MAX, Search
from keygauge_keyservice.portal import auth, own_keys
from keygauge_keyservice.web.context import services

blueprint = Blueprint("key_choice", __name__)

_CHOICES_MAX = 20


@blueprint.get("/keys/choices.json")
def find() -> Response:
    """Return the labels of keys whose name, program or start matches the text."""
    text = request.args.get("q", "").strip().replace("\0", "")[:QUERY_LENGTH_MAX]
    search = Search(query=text, sort="name")
    with services().connection() as connection:
        found = key_search.find(connection, auth.current_account_id(), search, limit=_CHOICES_MAX)
    return jsonify({"choices": list(own_keys.labels(found).values())})
