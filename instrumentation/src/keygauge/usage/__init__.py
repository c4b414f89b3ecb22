"""Token usage in one normal form, read from the answers of any provider."""

from keygauge.usage.answer import reader_for
from keygauge.usage.counts import Usage
from keygauge.usage.reading import Reader, Reading

__all__ = ["Reader", "Reading", "Usage", "reader_for"]
