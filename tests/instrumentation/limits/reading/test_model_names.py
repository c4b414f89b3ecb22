import pytest

from keygauge.limits.reading.model_names import LENGTH_MAX, in_address


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/v1/engines/davinci/completions", ("davinci",)),
        ("/openai/deployments/gpt-4o/chat/completions", ("gpt-4o",)),
        ("/v1beta/models/gemini-2.0-flash:generateContent", ("gemini-2.0-flash",)),
        ("/v1beta/models/gemini-2.0-flash:streamGenerateContent", ("gemini-2.0-flash",)),
        ("/models/llama3:8b/generate", ("llama3:8b",)),
        ("/model/anthropic.claude-3-5-sonnet-20241022-v2:0/converse", ("anthropic.claude-3-5-sonnet-20241022-v2:0",)),
        (
            "/model/arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-sonnet-4-20250514-v1:0/converse",
            ("us.anthropic.claude-sonnet-4-20250514-v1:0",),
        ),
        ("/model/arn:aws:bedrock:eu-west-1::foundation-model/amazon.nova-lite-v1:0/invoke", ("amazon.nova-lite-v1:0",)),
        (
            "/model/arn:aws:bedrock:us-east-1:1:application-inference-profile/a1b2/converse",
            ("arn:aws:bedrock:us-east-1:1:application-inference-profile/a1b2",),
        ),
        ("/MODELS/a/models/b", ("a", "b")),
        ("//engines//a///chat", ("a",)),
        ("/v1/models", ()),
        ("/client/v4/accounts/a/ai/run/@cf/meta/llama-3.1-8b-instruct", ("@cf/meta/llama-3.1-8b-instruct",)),
        ("/ai/run/workflow", ()),
        ("/v1/a/gateway/workers-ai/v1/chat/completions", ()),
        ("/v1/models/meta/meta-llama-3-70b-instruct/predictions", ("meta/meta-llama-3-70b-instruct",)),
        ("/v1/models/mine/predictions", ("mine",)),
        ("/v1/remodels/a", ()),
    ],
)
def test_path_names_models(path, named):
    assert in_address(path) == named


def test_path_parameters_take_precedence_over_the_path():
    params = {"model": "meta-llama/Llama-3", "n": 7}
    assert in_address("/v1/models/meta-llama/Llama-3", params=params) == ("meta-llama/Llama-3",)
    assert in_address("/run/big", params={"Model_ID": "big"}) == ("big",)


def test_query_names_models():
    assert in_address("/v1/realtime", "model=a&MODEL=b&x=c&deployment=&model=a") == ("a", "b", "")
    assert in_address("/v1/realtime", "model=a&x=1;model=b") == ("a", "b")


def test_comma_separated_names_are_split():
    assert in_address("/openai/deployments/a,b/chat", "model=c, d") == ("a", "b", "c", "d")


def test_names_are_cut_to_the_maximum_length():
    assert in_address(f"/models/{'x' * 500}") == ("x" * LENGTH_MAX,)
