"""A connection to a key service whose answers the test supplies, and one key."""

from concurrent.futures import Future
from hashlib import sha256

from keygauge.clock import SECOND
from keygauge.key import generate, new_id
from keygauge.limits.admission import Admission
from keygauge.limits.cost import Costing
from keygauge.pricing.price_cache import PriceCache

ID = new_id()
TOKEN = generate("live", ID).encode()


class Service:
    """A connection to a key service that records lookups and answers when the test says so."""

    def __init__(self):
        self.now_ns = 1000 * SECOND
        self.admission = Admission(wake=self.wake, clock=lambda: self.now_ns)
        self.admission.authority_ns = 2 * self.now_ns
        self.prices = PriceCache(on_fault=print)
        self.costing = Costing(self.prices, self.admission.key_cache)
        self.asked, self.asked_again, self.woken = [], [], 0
        self.is_crowded = False
        self.coming = Future()

    def look_up(self, digest, key_id, ip):
        self.asked.append((digest, key_id, ip))
        return None if self.is_crowded else self.coming

    def look_up_again(self, digest, key_id):
        self.asked_again.append(key_id)

    def next_round(self):
        return self.coming

    def wake(self):
        self.woken += 1

    def price(self):
        """Answer the price requests: no name has a price."""
        _, names = self.prices.offer()
        self.prices.take(None, names)

    def know(self, *limits, **terms):
        """Put the key into the cache with these limits and terms."""
        entry = {"id": ID, "account": "a", "plan": "pro", "status": "active", "expires_at": None, "providers": []}
        entry |= {"secrets": [{"number": 1, "expires_at": None}], "limits": limits} | terms
        self.admission.key_cache.put([entry], wanted=frozenset([ID]))
        self.admission.key_cache.learn(sha256(TOKEN).digest(), ID, 1)
