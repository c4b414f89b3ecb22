"""A moment given on the command line."""

from __future__ import annotations

import argparse
from datetime import datetime


def moment(text: str) -> datetime:
    """Read a moment; it must say its offset from UTC."""
    read = datetime.fromisoformat(text)
    if read.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text} has no offset: end it with Z for UTC")
    return read
