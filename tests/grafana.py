"""Grafana's interpolation of queries and links: variables in each format, and macros for PostgreSQL.

Based on Grafana 12's sources, including their bugs: a macro ends at the first closing parenthesis, and a double quote
in a value is escaped with a backslash for SQL.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, quote, urlsplit

_MACRO = re.compile(r"\$(__[a-zA-Z]+)\(([^)]*)\)")
_VARIABLE = re.compile(r"\$\{(\w+)(?::(\w+))?\}|\$(\w+)")
HOSTILE = ("o'brien-7b", 'say "hi"', "a\\b", "x'; DROP TABLE event; --", "$1 ${key} {x}", "50%, (a|b).*", "模型")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True)
class All:
    """The selection "All": `options`, or the variable's `custom` value instead."""

    options: tuple[str, ...] = ()
    custom: str | None = None


def promql(expression, variables, *, interval="2m", span="30m"):
    """Return a PromQL query as Grafana sends it."""
    macros = {"__rate_interval": interval, "__range": span}

    def replace(found):
        name, form = found[1] or found[3], found[2]
        if name in macros:
            return macros[name]
        if name not in variables:
            return found[0]  # a group of label_replace
        return _format(variables[name], form or "promql")

    return _VARIABLE.sub(replace, expression)


def sql(query, variables, *, since=None, until=None, interval="15m"):
    """Return an SQL query as Grafana sends it; the default range is the last six hours."""
    until = until or datetime.now(UTC) + timedelta(minutes=1)
    since = since or until - timedelta(hours=6)
    known = {"__interval": interval, **variables}

    def replace(found):
        name, form = found[1] or found[3], found[2]
        if name.startswith("__") and name not in known:
            return found[0]  # a macro
        return _format(known[name], form or "glob")

    text = _VARIABLE.sub(replace, query)
    moments = [f"'{moment.isoformat().replace('+00:00', 'Z')}'" for moment in (since, until)]
    return _MACRO.sub(lambda found: _macro(found[1], [one.strip() for one in found[2].split(",")], moments), text)


def options(rows, regex, variables):
    """Return a query variable's values: those that match its regular expression, which may contain variables."""
    pattern = _VARIABLE.sub(lambda found: _format(variables[found[1]], found[2]), regex.strip("/"))
    return tuple(row for row in rows if re.search(pattern, row))


def _format(value, form):
    if isinstance(value, All):
        if value.custom is not None:
            return "All" if form == "text" else value.custom
        value = list(value.options)
    return _FORMATS[form](value)


def _each(value):
    return [value] if isinstance(value, str) else list(value)


def _sqlstring(value):
    return ",".join("'" + one.replace("'", "''").replace('"', '\\"') + "'" for one in _each(value))


def _regex(value, escape=lambda one: re.sub(r"[\\^$*+?.()|\[\]{}/]", r"\\\g<0>", one)):
    each = [escape(one) for one in _each(value)]
    return each[0] if len(each) == 1 else f"({'|'.join(each)})"


def _promql(value):
    """Escape as with prometheusSpecialCharsInLabelValues, set in compose.yaml; without it, double quotes end a name."""

    def escape(one):
        quoted = one.replace("\\", "\\" * 4).replace('"', '\\\\\\"')
        return re.sub(r"[$^*{}\[\]'+?.()|]", r"\\\\\g<0>", quoted)

    return _regex(value, escape)


_FORMATS = {
    "sqlstring": _sqlstring,
    "regex": _regex,
    "promql": _promql,
    "glob": lambda value: value if isinstance(value, str) else "{" + ",".join(value) + "}",
}


def _macro(name, arguments, moments):
    since, until = moments
    if name == "__timeFrom":
        return since
    if name == "__timeTo":
        return until
    if name == "__timeFilter":
        return f"{arguments[0]} BETWEEN {since} AND {until}"
    if name == "__timeGroup":
        count, unit = re.fullmatch(r"'?(\d+)([smhdw])'?", arguments[1]).groups()
        seconds = int(count) * _SECONDS[unit]
        return f"floor(extract(epoch from {arguments[0]})/{seconds})*{seconds}"
    raise ValueError(f"no macro {name}")


@dataclass(frozen=True)
class Click:
    """A clicked line, bar or column: its display name, value, labels, and row."""

    name: str
    value: object = None
    labels: Mapping[str, str] = field(default_factory=dict)
    row: Mapping[str, object] = field(default_factory=dict)


def follow(url, click, variables):
    """Return the uid of the dashboard that a link opens, and its variables there, given `variables` here.

    Based on `getLinksSupplier` of @grafana/data: values without a format are encoded as by `encodeURI`.
    """

    def replace(found):
        of, part, form = found.groups()
        if form == "queryparam":
            return "&".join(f"var-{of}={quote(one, safe='')}" for one in _each(_queried(variables[of])))
        if of == "__url_time_range":
            return "from=now-6h&to=now"
        return quote(str(_clicked(click, of, part)), safe="" if form == "percentencode" else ";/?:@&=+$,#-_.!~*'()")

    address = urlsplit(re.sub(r"\$\{(\w+)(?:\.([^:}]+))?(?::(\w+))?\}", replace, url))
    selected = parse_qs(address.query, keep_blank_values=True)
    assert selected.pop("from") == ["now-6h"]
    assert selected.pop("to") == ["now"]
    return address.path.removeprefix("/d/"), {name.removeprefix("var-"): values for name, values in selected.items()}


def _queried(value):
    return "$__all" if isinstance(value, All) else value


def _clicked(click, of, part):
    if (of, part) == ("__value", "raw"):
        return click.value
    if (of, part) == ("__field", "displayName"):
        return click.name
    if of == "__field":
        return click.labels[part.removeprefix("labels.")]
    column = re.fullmatch(r"fields(?:\.(\w+)|\[(\d+)\])", part)
    return click.row[column[1]] if column[1] else list(click.row.values())[int(column[2])]
