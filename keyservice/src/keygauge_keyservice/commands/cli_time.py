"""A moment given on the command line."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime


def moment(text: str) -> datetime:
    """Read a moment and return it in UTC; it must say its offset."""
    try:
        read = datetime.fromisoformat(text)
        in_utc = read.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: give one such as 2030-01-31T12:00:00Z") from error
    if read.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text} has no offset: end it with Z for UTC")
    return in_utc
