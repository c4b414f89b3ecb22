from keygauge import kinds
from keygauge.pricing.rates import Rates
from keygauge.usage import Usage


def test_every_kind_is_part_of_an_existing_count_or_of_none():
    names = {name.removesuffix("_tokens") for name in Usage._fields}
    assert {whole for whole in kinds.PART_OF.values() if whole} < names
    assert {whole for whole in kinds.PART_OF.values() if whole} < set(Rates.__dataclass_fields__)


def test_only_kinds_outside_token_counts_are_priced_per_unit():
    assert {kinds.PART_OF[kind] for kind in kinds.BY_ONE} == {None}
