from keygauge.usage.providers.names import provider_of
from keygauge_demo.api.catalog import MODELS
from keygauge_keyservice.pricing.public_models import find_model


def test_every_model_of_the_demo_is_recognized_and_has_a_price():
    for name, model in MODELS.items():
        assert name == model.id
        assert provider_of(name) == model.provider
        assert find_model(model.provider, name) is not None
        assert min(model.first_token_s, model.token_s) > 0
