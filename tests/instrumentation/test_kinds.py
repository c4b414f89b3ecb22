from keygauge import kinds
from keygauge.pricing.rates import Rates
from keygauge.usage import Usage


def test_every_kind_is_part_of_a_count_that_calls_have_or_of_none():
    names = {name.removesuffix("_tokens") for name in Usage._fields}
    assert {whole for whole in kinds.PART_OF.values() if whole} < names
    assert {whole for whole in kinds.PART_OF.values() if whole} < set(Rates.__dataclass_fields__)


def test_only_what_is_no_part_of_tokens_is_priced_by_the_piece():
    assert {kinds.PART_OF[kind] for kind in kinds.BY_ONE} == {None}
