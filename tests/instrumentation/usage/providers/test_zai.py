from keygauge.usage.providers import names, zai


def test_models_are_recognized_by_name_in_both_shapes():
    for shape in ("openai", "anthropic"):
        for model in ("glm-4.6", "GLM-4.6", "zai/glm-4.6", "z-ai/glm-4.6", "cogview-4"):
            assert names.settle(shape, model) == zai.PROVIDER
