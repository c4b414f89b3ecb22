"""Columns that show the name of an account or a key instead of its id."""

from __future__ import annotations

from collections.abc import Callable

from keygauge_keyservice.commands.connection.client import NOT_FOUND, Api, ApiError
from keygauge_keyservice.commands.connection.document import Document
from keygauge_keyservice.commands.terminal.output import Column, Output

_SINGLE_MAX = 20  # names read one by one; beyond, all of the list are read


class Names:
    """Names of accounts or keys by id, read from the API as needed."""

    def __init__(self, api: Api, noun: str, *, account: str | None = None) -> None:
        self._api, self._noun, self._account = api, noun, account
        self._known: dict[str, str] = {}
        self._is_complete = False

    def of(self, given: str | None) -> str | None:
        """Return the name of an id, or the id itself if nothing has it."""
        if not given:
            return given
        if given not in self._known and len(self._known) >= _SINGLE_MAX and not self._is_complete:
            listed = self._api.all(self._noun, field=self._noun, account=self._account)
            self._known |= {one["id"]: one["name"] for one in listed}
            self._is_complete = True
        if given not in self._known:
            self._known[given] = self._read(given)
        return self._known[given]

    def _read(self, given: str) -> str:
        try:
            return str(self._api.get(self._noun, given)["name"])
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise
            return given  # such as a key of an account that no longer exists


def named(names: Names, output: Output, title: str, read: Callable[[Document], str | None]) -> tuple[Column, ...]:
    """Return the columns for an id: its name, or in CSV both."""
    by_name = Column(title, lambda document: names.of(read(document)))
    if output.form != "csv":
        return (by_name,)
    return Column(title, read), Column(f"{title} name", by_name.read)
