from keygauge_keyservice.pricing.tier_text import write_tiers

TIER = {"above": None, "input": 3_000_000_000, "output": 15_000_000_000, "request": 0}
SAME = {"cache_read": 3_000_000_000, "cache_write": 3_000_000_000, "reasoning": 15_000_000_000}


def test_implied_rates_are_left_out():
    assert write_tiers([TIER | SAME]) == "input=3,output=15"
    assert write_tiers([TIER | SAME | {"cache_read": 300_000_000}]) == "input=3,output=15,cache_read=0.3"


def test_each_tier_is_a_line_with_its_minimum_size():
    assert write_tiers([TIER | SAME, TIER | SAME | {"above": 200_000}]) == "input=3,output=15\n200000:input=3,output=15"
    assert write_tiers([TIER | SAME | {"above": -1}]) == "input=3,output=15"


def test_pieces_are_priced_per_unit_and_no_rates_mean_free():
    prices = {"input": 0, "output": 0, "request": 10**13, "images": 4 * 10**13}
    assert write_tiers([{"above": None} | prices]) == "request=0.01,images=0.04"
    assert write_tiers([{"above": None, "input": 0, "output": 0, "request": 0}]) == "free"
