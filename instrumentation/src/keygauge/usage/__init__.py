"""Token usage read from any provider's answers, in one normal form."""

from keygauge.usage.answer import kind_of, reader_for
from keygauge.usage.counts import Usage
from keygauge.usage.reading import Reader, Reading

__all__ = ["Reader", "Reading", "Usage", "kind_of", "reader_for"]
