"""Formatting of numbers, money and times for people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import accumulate, pairwise
from typing import Protocol
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from babel.dates import format_date, format_skeleton, format_time
from babel.numbers import format_currency, format_decimal
from flask import Blueprint
from flask.blueprints import BlueprintSetupState

from keygauge_keyservice.portal import assets, auth, cookies, languages, reader
from keygauge_keyservice.texts import gettext, mark, ngettext
from keygauge_keyservice.web.context import services

_THOUSAND = 1000
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400
_UNITS = ("", "k", "M", "B", "T")
_CENT, _MINIMUM = Decimal("0.01"), Decimal("0.0001")
_SECOND_US = 1_000_000
_UNIT_NAMES = {
    "request": mark("requests"),
    "token": mark("tokens"),
    "input_token": mark("input tokens"),
    "output_token": mark("output tokens"),
    "concurrent": mark("concurrent requests"),
    "credit": mark("credits"),
}


_SKELETONS = {  # CLDR skeletons for the same patterns, whose order depends on the language
    "EEE": "E",
    "d MMM": "MMMd",
    "MMM yyyy": "yMMM",
    "EEE d MMM yyyy": "yMMMEd",
    "d MMM yyyy": "yMMMd",
    "MMMM yyyy": "yMMMM",
}
_STRFTIME = {  # for English, charts' patterns at a tenth of the cost
    "HH:mm": "%H:%M",
    "EEE HH:mm": "%a %H:%M",
    "d MMM": "%-d %b",
    "MMM yyyy": "%b %Y",
    "EEE d MMM yyyy, HH:mm": "%a %-d %b %Y, %H:%M",
    "EEE d MMM yyyy": "%a %-d %b %Y",
    "d MMM yyyy": "%-d %b %Y",
    "MMMM yyyy": "%B %Y",
    "d MMM HH:mm:ss": "%-d %b %H:%M:%S",
    "d MMM yyyy HH:mm:ss": "%-d %b %Y %H:%M:%S",
}


class LimitAmount(Protocol):
    """An amount that a limit allows."""

    @property
    def amount(self) -> int: ...  # noqa: D102 - as in limits
    @property
    def unit(self) -> str: ...  # noqa: D102
    @property
    def unit_name(self) -> str | None: ...  # noqa: D102
    @property
    def credit_nanousd(self) -> int | None: ...  # noqa: D102


def count(number: int) -> str:
    """Format an integer with all digits: 8,750."""
    return f"{number:,}" if reader.is_english() else format_decimal(number, locale=reader.locale())


def decimal(number: float) -> str:
    """Format a number with one decimal place: 0.5, 1,234.5."""
    return f"{number:,.1f}" if reader.is_english() else format_decimal(number, "#,##0.0", locale=reader.locale())


def short(number: float) -> str:
    """Format a number with at most three digits and a suffix: 950, 1.2k, 35M."""
    for unit in _UNITS:
        if abs(number) < 999.5 or unit == _UNITS[-1]:  # noqa: PLR2004 - larger ones round to 1k
            break
        number /= _THOUSAND
    digits = f"{number:.1f}" if abs(number) < 99.95 and unit else f"{number:.0f}"  # noqa: PLR2004 - three digits
    return _localise(digits.removesuffix(".0")) + unit


def money(nanousd: int) -> str:
    """Format US dollars rounded half to even: to cents, or to hundredths of a cent below one dollar."""
    dollars = Decimal(nanousd).scaleb(-9)
    if 0 < abs(dollars) < _MINIMUM:
        return "< $0.0001"
    return _dollars(dollars, _CENT if abs(dollars) >= 1 or not dollars else _MINIMUM)


def cents(nanousd: int) -> str:
    """Format a billed amount in US dollars, rounded half to even to cents: $0.07."""
    return _dollars(Decimal(nanousd).scaleb(-9), _CENT)


def price(nanousd: int | Decimal) -> str:
    """Format a price in US dollars with all its digits, at least two decimals: $2.50, $0.075."""
    dollars = Decimal(nanousd).scaleb(-9)
    return _dollars(dollars, _exact_step(dollars))


def cents_of(amounts: Sequence[int]) -> list[str]:
    """Format nano-USD amounts in cents that add up to their total in cents: running sums are rounded half to even."""
    sums = [0, *accumulate(amounts)]
    rounded = [Decimal(nanousd).scaleb(-9).quantize(_CENT, ROUND_HALF_EVEN) for nanousd in sums]
    return [_dollars(up_to - before, _CENT) for before, up_to in pairwise(rounded)]


def _exact_step(dollars: Decimal) -> Decimal:
    """Return the value of an amount's last digit, at most a cent."""
    return min(_CENT, Decimal(1).scaleb(int(dollars.normalize().as_tuple().exponent)))


def _dollars(dollars: Decimal, step: Decimal) -> str:
    rounded = dollars.quantize(step, ROUND_HALF_EVEN)
    if reader.is_english():
        return f"-${-rounded:,f}" if rounded < 0 else f"${rounded:,f}"
    decimals = f"{step:f}".replace("1", "0")
    pattern = reader.locale().currency_formats["standard"].pattern.replace("0.00", decimals)
    return format_currency(rounded, "USD", pattern, locale=reader.locale(), currency_digits=False)


def _strftime(local: datetime, pattern: str) -> str:
    """Format a time in English, with the reader's 12- or 24-hour clock."""
    return local.strftime(
        pattern.replace("%H:%M:%S", "%-I:%M:%S %p").replace("%H:%M", "%-I:%M %p") if reader.is_12h() else pattern
    )


def _localise(digits: str) -> str:
    return digits if reader.is_english() else digits.replace(".", reader.locale().number_symbols["latn"]["decimal"])


def credits_of(nanousd: int, worth_nanousd: int) -> str:
    """Format nano-USD in credits, to a hundredth of a credit: 4,321.5."""
    amount = (Decimal(nanousd) / worth_nanousd).quantize(_CENT, ROUND_HALF_EVEN)
    digits = f"{amount:,}".removesuffix("0").removesuffix(".0")
    return digits if reader.is_english() else format_decimal(amount, locale=reader.locale())


def dollars(nanousd: int) -> str:
    """Format a round amount for an axis, with the digits it has: $0.05, $1.50, $20k."""
    amount = Decimal(nanousd).scaleb(-9)
    if amount >= _THOUSAND:
        return f"${short(float(amount))}"
    return f"${_localise(f'{amount.quantize(_exact_step(amount)):f}')}"


def amount(number: int, unit: str, credit_nanousd: int | None = None) -> str:
    """Format an amount of a limit's unit without the unit's name; money has its sign: 20,000 or $25.00."""
    if credit_nanousd:
        return credits_of(number, credit_nanousd)
    return money(number) if unit == "nanousd" else count(number)


def unit_name(unit: str, credit_nanousd: int | None = None, name: str | None = None) -> str:
    """Return the name of a limit's unit, to follow an amount; empty for money."""
    return name or (
        "" if unit == "nanousd" and not credit_nanousd else gettext(_UNIT_NAMES["credit" if credit_nanousd else unit])
    )


def amount_of(limit: LimitAmount) -> str:
    """Format an amount with its unit: 600 requests, 1 concurrent request, $20.00."""
    number = amount(limit.amount, limit.unit, limit.credit_nanousd)
    if limit.unit_name or limit.credit_nanousd or limit.unit == "nanousd":
        return f"{number} {unit_name(limit.unit, limit.credit_nanousd, limit.unit_name)}".strip()
    match limit.unit:
        case "request":
            return ngettext("%(number)s request", "%(number)s requests", limit.amount, number=number)
        case "token":
            return ngettext("%(number)s token", "%(number)s tokens", limit.amount, number=number)
        case "input_token":
            return ngettext("%(number)s input token", "%(number)s input tokens", limit.amount, number=number)
        case "output_token":
            return ngettext("%(number)s output token", "%(number)s output tokens", limit.amount, number=number)
    return ngettext("%(number)s concurrent request", "%(number)s concurrent requests", limit.amount, number=number)


def share(part: int, whole: int) -> str:
    """Format a share as a percentage: 12.5%."""
    if not whole:
        return "-"
    percent = 100 * part / whole
    if 0 < percent < 0.1:  # noqa: PLR2004 - what one digit can show
        return f"< {_localise('0.1')}%"
    return _localise(f"{percent:.1f}".removesuffix(".0")) + "%"


def duration(duration_us: float) -> str:
    """Format a latency: 340 ms, 1.2 s."""
    if duration_us < _SECOND_US:
        return f"{duration_us / 1000:.0f} ms"
    return f"{_localise(f'{duration_us / _SECOND_US:.1f}')} s"


def span(seconds: int) -> str:
    """Format a duration in its largest whole unit: 1 day, 36 hours, 90 minutes."""
    if seconds >= _DAY_S and seconds % _DAY_S == 0:
        return ngettext("%(num)s day", "%(num)s days", seconds // _DAY_S)
    if seconds >= _HOUR_S and seconds % _HOUR_S == 0:
        return ngettext("%(num)s hour", "%(num)s hours", seconds // _HOUR_S)
    if seconds >= _MINUTE_S and seconds % _MINUTE_S == 0:
        return ngettext("%(num)s minute", "%(num)s minutes", seconds // _MINUTE_S)
    return ngettext("%(num)s second", "%(num)s seconds", seconds)


def change(now: float, before: float) -> str:
    """Format a change from the previous number: +12%, -3%, empty if that was zero."""
    if not before:
        return ""
    percent = round(100 * (now - before) / before)
    return f"{percent:+,}%" if percent else gettext("no change")


def zone_name(instant: datetime, zone: ZoneInfo | None = None) -> str:
    """Return the zone's name at a time: UTC, CET, UTC+05:45."""
    local = instant.astimezone(zone or reader.zone())
    name = local.strftime("%Z")
    return name if name.isalpha() else f"UTC{local.isoformat()[-6:]}"


def time_label(instant: datetime, pattern: str, zone: ZoneInfo | None = None) -> str:
    """Format a time by a Unicode (CLDR) pattern: EEE d MMM yyyy, HH:mm."""
    local = instant.astimezone(zone or reader.zone())
    if reader.is_english():
        return _strftime(local, _STRFTIME[pattern])
    days, _, times = pattern.partition("HH")
    if not times:
        return format_skeleton(_SKELETONS[days.strip(" ,")], local, tzinfo=local.tzinfo, locale=reader.locale())
    time = _time(local, times)
    return f"{time_label(instant, days.strip(' ,'), zone)}, {time}" if days else time


def day(instant: datetime) -> str:
    """Format a day: 21 Nov 2026."""
    local = instant.astimezone(reader.zone())
    return f"{local:%-d %b %Y}" if reader.is_english() else format_date(local, "medium", reader.locale())


def utc_day(instant: datetime) -> str:
    """Format a day of a billing period, which is in UTC: 21 Nov 2026."""
    utc = instant.astimezone(UTC)
    return f"{utc:%-d %b %Y}" if reader.is_english() else format_date(utc, "medium", reader.locale())


def clock(instant: datetime) -> str:
    """Format a time with its zone: 21 Nov 2026, 02:35 UTC."""
    local = instant.astimezone(reader.zone())
    if reader.is_english():
        return f"{_strftime(local, '%-d %b %Y, %H:%M')} {zone_name(instant)}"
    return f"{day(instant)}, {_time(local, ':mm')} {zone_name(instant)}"


def _time(local: datetime, minutes: str) -> str:
    """Format a time of day in languages other than English; `minutes` is the pattern after the hour, such as `:mm`."""
    is_12h = reader.is_12h()
    return format_time(
        local, f"{'h' if is_12h else 'HH'}{minutes}{' a' if is_12h else ''}", local.tzinfo, reader.locale()
    )


def date_text(value: date) -> str:
    """Format a date without a time zone: 21 Nov 2026."""
    return f"{value:%-d %b %Y}" if reader.is_english() else format_date(value, "medium", reader.locale())


def month(first: date) -> str:
    """Format a month: November 2026."""
    return f"{first:%B %Y}" if reader.is_english() else format_skeleton("yMMMM", first, locale=reader.locale())


def ago(instant: datetime, now: datetime | None = None) -> str:
    """Format how long ago a time was: 3 minutes ago."""
    seconds = int(((now or datetime.now(UTC)) - instant).total_seconds())
    if seconds >= _DAY_S:
        return ngettext("%(num)s day ago", "%(num)s days ago", seconds // _DAY_S)
    if seconds >= _HOUR_S:
        return ngettext("%(num)s hour ago", "%(num)s hours ago", seconds // _HOUR_S)
    if seconds >= _MINUTE_S:
        return ngettext("%(num)s minute ago", "%(num)s minutes ago", seconds // _MINUTE_S)
    return gettext("just now")


def host(address: str) -> str:
    """Return the host of a URL, whose path may contain a secret."""
    return urlsplit(address).hostname or address


def install(portal: Blueprint) -> None:
    """Provide templates with these filters, the assets' URLs, the session and the chosen theme."""
    portal.record_once(_add_filters)
    portal.app_context_processor(_context)  # also for the page of an unknown address


def _add_filters(state: BlueprintSetupState) -> None:
    state.app.add_template_filter(date_text, "date")
    amounts, times = (
        (count, decimal, short, money, cents, price, duration),
        (day, month, utc_day, clock, ago, time_label),
    )
    filters = {function.__name__: function for function in (*amounts, *times, zone_name, host)}
    state.app.jinja_env.filters.update(filters)
    state.app.jinja_env.globals["csrf_token"] = auth.csrf_token  # macros have no access to the context


def _context() -> dict[str, object]:
    theme = cookies.read("keygauge_theme")
    return {
        "api_url": services().settings.api_url,
        "contact_url": services().settings.contact_url,
        "asset": assets.address,
        "language": reader.language(languages.names()).replace("_", "-"),
        "me": auth.signed_in(),
        "share": share,
        "zone": reader.zone(),
        "theme": theme if theme in {"light", "dark"} else None,
    }
