"""Token usage in one normal form, read from any provider's answers."""

from keygauge.usage.answer import kind_of, reader_for
from keygauge.usage.counts import Usage
from keygauge.usage.reading import Reader, Reading

__all__ = ["Reader", "Reading", "Usage", "kind_of", "reader_for"]
