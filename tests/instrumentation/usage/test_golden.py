"""The answers in golden/ follow the providers' documentation; each reads the same in any chunks and encodings."""

import gzip
import json
import zlib
from pathlib import Path

import brotli
import pytest
import zstandard
from bodies import divide
from hypothesis import given, settings
from hypothesis import strategies as st

from keygauge.usage import Usage, reader_for

GOLDEN = Path(__file__).parent / "golden"
CONTENT_TYPES = {
    ".json": b"application/json",
    ".sse": b"text/event-stream; charset=utf-8",
    ".ndjson": b"application/x-ndjson",
}
# input, output, cache read, cache write, reasoning; input and output include the rest
EXPECTED = {
    "anthropic_message.json": (
        Usage(4143, 503, 1800, 248, None, {"cache_write_1h": 100}),
        "claude-sonnet-4-5-20250929",
        "anthropic",
    ),
    "anthropic_message.sse": (Usage(25, 15), "claude-opus-4-1-20250805", "anthropic"),
    "anthropic_message_cached.sse": (Usage(2095, 393, 1886, 188), "claude-opus-4-1-20250805", "anthropic"),
    "anthropic_web_search.sse": (
        Usage(10682, 510, 0, 0, None, {"web_searches": 1}),
        "claude-opus-4-1-20250805",
        "anthropic",
    ),
    "bedrock_converse.json": (Usage(125, 60), None, "aws.bedrock"),
    "bedrock_converse.sse": (Usage(47, 20), None, "aws.bedrock"),
    "bedrock_converse_cached.json": (Usage(17951, 295, 17914, 0), None, "aws.bedrock"),
    "cloudflare_run.json": (Usage(26, 41), None, "openai"),
    "cloudflare_run.sse": (Usage(26, 41), None, "openai"),
    "ollama_chat_cached.json": (Usage(26, 298, 20), "llama3.2", "ollama"),
    "replicate_language.json": (Usage(14, 2), "meta/meta-llama-3-70b-instruct", "replicate"),
    "replicate_prediction.json": (Usage(details={"seconds": 3}), "replicate/hello-world", "replicate"),
    "watsonx_chat.json": (Usage(37, 9), "ibm/granite-3-8b-instruct", "openai"),
    "watsonx_embedding.json": (Usage(10), "ibm/slate-125m-english-rtrvr", "ibm.watsonx.ai"),
    "watsonx_generation.json": (Usage(11, 5), "ibm/granite-13b-instruct-v2", "ibm.watsonx.ai"),
    "watsonx_generation.sse": (Usage(11, 5), "ibm/granite-13b-instruct-v2", "ibm.watsonx.ai"),
    "xai_image_urls.json": (Usage(details={"images": 1}), None, "openai"),
    "cerebras_chat.json": (Usage(12, 10, 0), "gpt-oss-120b", "cerebras"),
    "cerebras_chat.sse": (Usage(12, 10, 0), "gpt-oss-120b", "cerebras"),
    "cohere_classify.json": (Usage(details={"classifications": 2}), None, "cohere"),
    "cohere_embed.json": (Usage(2), None, "cohere"),
    "cohere_rerank.json": (Usage(details={"search_units": 1}), None, "cohere"),
    "cohere_v1_chat.json": (Usage(17, 12), None, "cohere"),
    "cohere_v1_chat.ndjson": (Usage(17, 12), None, "cohere"),
    "cohere_v2_chat.json": (Usage(5, 418), None, "cohere"),
    "cohere_v2_chat.sse": (Usage(3, 9), None, "cohere"),
    "gemini_generate.json": (Usage(1238, 236, 1024, None, 200), "gemini-2.5-flash", "gcp.gemini"),
    "gemini_stream.json": (Usage(8, 52, None, None, 40), "gemini-2.5-flash", "gcp.gemini"),
    "gemini_stream.sse": (Usage(8, 52, None, None, 40), "gemini-2.5-flash", "gcp.gemini"),
    "llama_cpp_chat.sse": (Usage(68, 10), "gpt-oss-20b.gguf", "openai"),
    "llama_cpp_completion.json": (Usage(7, 64), "gpt-oss-20b.gguf", None),
    "llama_cpp_completion.sse": (Usage(7, 64), "gpt-oss-20b.gguf", None),
    "mistral_chat.json": (Usage(16, 34), "mistral-small-latest", "mistral_ai"),
    "mistral_chat.sse": (Usage(16, 34), "mistral-large-2411", "mistral_ai"),
    "ollama_chat.json": (Usage(26, 282), "llama3.2", "ollama"),
    "ollama_chat.ndjson": (Usage(26, 282), "llama3.2", "ollama"),
    "ollama_embed.json": (Usage(8), "all-minilm", "ollama"),
    "ollama_generate.ndjson": (Usage(26, 282), "llama3.2", "ollama"),
    "openai_chat.json": (Usage(19, 10, 0, None, 0), "gpt-4.1-2025-04-14", "openai"),
    "openai_chat.sse": (Usage(19, 10, 0, None, 0), "gpt-4o-mini", "openai"),
    "openai_chat_cached_reasoning.json": (Usage(2006, 300, 1920, None, 192), "gpt-5-2025-08-07", "openai"),
    "openai_completion.json": (Usage(5, 7), "gpt-3.5-turbo-instruct", "openai"),
    "openai_embedding.json": (Usage(8), "text-embedding-ada-002", "openai"),
    "openai_image.json": (Usage(50, 50, details={"input_image": 40, "output_image": 50}), None, "openai"),
    "openai_response.json": (Usage(328, 52, 256, None, 20), "gpt-4.1-2025-04-14", "openai"),
    "openai_response.sse": (Usage(328, 52, 256, None, 20), "gpt-4.1-2025-04-14", "openai"),
    "vllm_chat.json": (Usage(11, 3), "meta-llama/Llama-3.1-8B-Instruct", "openai"),
    "vllm_chat_continuous.sse": (Usage(11, 3), "meta-llama/Llama-3.1-8B-Instruct", "openai"),
    "xai_chat.json": (Usage(37, 763, 8, None, 233), "grok-4-0709", "x_ai"),
    "anthropic_compaction.json": (Usage(203000, 4500), "claude-opus-4-6", "anthropic"),
    "anthropic_two_messages.sse": (Usage(40, 5), "claude-sonnet-4-5", "anthropic"),
    "anthropic_zero_delta.sse": (Usage(15, 20), "claude-sonnet-4-5", "anthropic"),
    "bedrock_invoke_claude.json": (Usage(14, 9), "anthropic.claude-sonnet-4-20250514-v1:0", "aws.bedrock"),
    "bedrock_invoke_stream.ndjson": (Usage(8, 5), None, "aws.bedrock"),
    "cohere_v2_cached.json": (Usage(5, 418, 4), None, "cohere"),
    "deepseek_chat.json": (Usage(100, 20, 64), "deepseek-chat", "deepseek"),
    "deepseek_chat.sse": (Usage(100, 20, 64, None, 12), "deepseek-reasoner", "deepseek"),
    "fireworks_chat.json": (Usage(9, 4, 0), "accounts/fireworks/models/kimi-k2-instruct", "fireworks"),
    "gemini_interaction.json": (Usage(7, 42, 2, None, 22), "gemini-2.5-flash", "gcp.gemini"),
    "gemini_interaction.sse": (Usage(7, 42, 2, None, 22), "gemini-2.5-flash", "gcp.gemini"),
    "gemini_modalities.json": (
        Usage(300, 1300, 50, None, None, {"input_audio": 210, "cache_read_audio": 50, "output_image": 1290}),
        "gemini-2.5-flash-image",
        "gcp.gemini",
    ),
    "gemini_openai_compatible.json": (Usage(20, 603), "gemini-2.5-pro", "gcp.gemini"),
    "gemini_thoughts_first.sse": (Usage(8, 52, None, None, 40), "gemini-2.5-flash", "gcp.gemini"),
    "groq_chat.sse": (Usage(18, 6), "llama-3.3-70b-versatile", "groq"),
    "litellm_passthrough.json": (Usage(194, 2, 100, 50), "claude-sonnet-4-5", "anthropic"),
    "moonshot_chat.sse": (Usage(19, 13, 8), "kimi-k2-0711-preview", "moonshot_ai"),
    "openai_chat_audio.json": (
        Usage(120, 90, 0, None, 0, {"input_audio": 100, "output_audio": 60}),
        "gpt-4o-audio-preview",
        "openai",
    ),
    "openai_response_search.json": (
        Usage(328, 52, 0, None, 0, {"web_searches": 2, "file_searches": 1}),
        "gpt-4.1",
        "openai",
    ),
    "openai_transcription.json": (Usage(14, 45, details={"input_audio": 10}), None, "openai"),
    "openai_transcription_seconds.json": (Usage(details={"seconds": 9}), None, "openai"),
    "openai_two_completions.sse": (Usage(9, 3), "gpt-4o", "openai"),
    "openai_usage_after_done.sse": (Usage(5, 2), "gpt-4o", "openai"),
    "openrouter_chat.json": (
        Usage(194, 2, 100, 50, 0, {"web_searches": 1}),
        "anthropic/claude-sonnet-4",
        "openrouter",
    ),
    "perplexity_chat.json": (
        Usage(33, 811, None, None, 96, {"web_searches": 21, "citations": 2602}),
        "sonar-deep-research",
        "perplexity",
    ),
    "sglang_generate.json": (Usage(6, 4, 2), None, None),
    "sglang_generate.sse": (Usage(6, 4, 2), None, None),
    "tgi_generate.json": (Usage(2, 20), None, None),
    "tgi_generate.sse": (Usage(7, 2), None, None),
    "voyage_embedding.json": (Usage(10), "voyage-3.5", "openai"),
    "zai_message.json": (Usage(14, 9, 0), "glm-4.6", "zai"),
    "anthropic_thinking.sse": (Usage(58, 210, 0, 0, 180), "claude-sonnet-4-5-20250929", "anthropic"),
    "azure_chat.json": (Usage(33, 557, 0, None, 512), "gpt-4o-mini-2024-07-18", "azure.ai.openai"),
    "azure_chat.sse": (Usage(33, 2), "gpt-4o-mini-2024-07-18", "azure.ai.openai"),
    "bedrock_images.json": (Usage(details={"images": 2}), None, "aws.bedrock"),
    "bedrock_llama.json": (Usage(25, 12), None, "aws.bedrock"),
    "bedrock_titan.json": (Usage(5, 10), None, "aws.bedrock"),
    "bedrock_titan_stream.ndjson": (Usage(5, 9), None, "aws.bedrock"),
    "bedrock_titan_embedding.json": (Usage(7), None, "aws.bedrock"),
    "gemini_live.json": (Usage(300, 120, details={"input_audio": 280, "output_audio": 120}), None, "gcp.gemini"),
    "gemini_vertex.json": (Usage(264, 5, details={"input_image": 258}), "gemini-2.5-flash", "gcp.gemini"),
    "gemini_vertex_embeddings.json": (Usage(10, details={"characters": 37}), None, "gcp.vertex_ai"),
    "groq_chat.json": (Usage(18, 556), "llama-3.3-70b-versatile", "groq"),
    "litellm_chat.sse": (Usage(9, 2, None, None, 0), "gpt-4o", "openai"),
    "mistral_transcription.json": (Usage(4, 635, details={"seconds": 203}), "voxtral-mini-2507", "mistral_ai"),
    "ollama_compatible.sse": (Usage(26, 9), "llama3.2", "openai"),
    "openai_batch.json": (Usage(1500, 500, 1024, None, 300), "gpt-5-2025-08-07", "openai"),
    "openai_completion.sse": (Usage(5, 2), "gpt-3.5-turbo-instruct", "openai"),
    "openai_image.sse": (Usage(50, 50, details={"input_image": 40, "output_image": 50}), None, "openai"),
    "openai_run.sse": (Usage(20, 11), "gpt-4o", "openai"),
    "openai_speech.sse": (Usage(14, 101), None, "openai"),
    "openai_transcription.sse": (Usage(14, 31, details={"input_audio": 4}), None, "openai"),
    "openrouter_chat.sse": (Usage(194, 12, 100, None, 0), "anthropic/claude-sonnet-4", "openrouter"),
    "perplexity_chat.sse": (Usage(8, 439), "sonar-pro", "perplexity"),
    "together_chat.json": (Usage(42, 30, 16), "meta-llama/Llama-3.3-70B-Instruct-Turbo", "openai"),
    "together_chat.sse": (Usage(42, 30, 16), "meta-llama/Llama-3.3-70B-Instruct-Turbo", "openai"),
    "vllm_embedding.json": (Usage(9, 0), "intfloat/e5-mistral-7b-instruct", "openai"),
    "xai_chat.sse": (Usage(41, 519, 7, None, 415), "grok-4-0709", "x_ai"),
    "anthropic_advisor.json": (Usage(412, 531, 0, 0), "claude-sonnet-4-6", "anthropic"),
    "anthropic_compaction_cached.json": (
        Usage(180185, 45, 180100, 57, None, {"cache_write_1h": 7, "tool_calls": 2}),
        "claude-opus-4-6",
        "anthropic",
    ),
    "anthropic_whole_input_first.sse": (Usage(1015, 20, 1000), "glm-4.6", "zai"),
    "bedrock_converse_openai.json": (Usage(151410, 639, 132976, 18433), None, "aws.bedrock"),
    "bedrock_nova_invoke.json": (Usage(1038, 10, 1024, 0), None, "aws.bedrock"),
    "gemini_grounding.json": (
        Usage(115, 7, details={"input_image": 40, "web_searches": 2}),
        "gemini-3-pro-preview",
        "gcp.gemini",
    ),
    "gemini_imagen.json": (Usage(details={"images": 2}), None, "gcp.gemini"),
    "gemini_interaction_modalities.json": (
        Usage(
            320,
            29,
            100,
            None,
            20,
            {"input_audio": 170, "cache_read_audio": 80, "output_image": 9, "web_searches": 2},
        ),
        "gemini-2.5-flash",
        "gcp.gemini",
    ),
    "gemini_sdk.json": (Usage(264, 16, None, None, 11, {"input_image": 258}), "gemini-2.5-flash", "gcp.gemini"),
    "litellm_chat_cached.json": (
        Usage(194, 2, 100, 50, details={"cache_write_1h": 30}),
        "claude-sonnet-4-5",
        "anthropic",
    ),
    "llama_cpp_completion_cached.json": (Usage(100, 5, 90), "gpt-oss-20b.gguf", None),
    "mistral_conversation.json": (Usage(7300, 55, details={"web_searches": 1}), "mistral-medium-2505", "mistral_ai"),
    "mistral_conversation.sse": (Usage(7300, 55, details={"web_searches": 1}), "mistral-medium-2505", "mistral_ai"),
    "mistral_ocr.json": (Usage(details={"pages": 29}), "mistral-ocr-2505-completion", "mistral_ai"),
    "openai_image_svg.json": (Usage(50, 50, details={"input_image": 40, "output_image": 50}), None, "openai"),
    "openai_image_urls.json": (Usage(details={"images": 2}), None, "openai"),
    "openai_response_tools.json": (
        Usage(331, 236, 100, 0, 10, {"web_searches": 1, "tool_calls": 1, "output_image": 196}),
        "gpt-5-2025-08-07",
        "openai",
    ),
    "openai_response_tools.sse": (
        Usage(331, 236, 100, 0, 10, {"web_searches": 1, "tool_calls": 1, "output_image": 196}),
        "gpt-5-2025-08-07",
        "openai",
    ),
    "openai_transcription_verbose.json": (Usage(details={"seconds": 9}), None, "openai"),
    "openai_video.json": (Usage(details={"seconds": 8}), "sora-2", "openai"),
    "openrouter_video.json": (
        Usage(1000, 5, 0, 0, 0, {"input_audio": 50, "input_video": 900}),
        "google/gemini-2.5-flash",
        "gcp.gemini",
    ),
    "perplexity_deep_research.json": (
        Usage(33, 205342, None, None, 193947, {"web_searches": 21, "citations": 19028}),
        "sonar-deep-research",
        "perplexity",
    ),
    "perplexity_job.json": (
        Usage(33, 205342, None, None, 193947, {"web_searches": 21, "citations": 19028}),
        "sonar-deep-research",
        "perplexity",
    ),
    "cohere_v1_generate.json": (Usage(5, 8), None, "cohere"),
    "sglang_batch.json": (Usage(13, 9, 2), None, None),
    "sglang_chat.json": (Usage(33, 500, None, None, 400), "Qwen/Qwen3-32B", "openai"),
    "tgi_batch.json": (Usage(2, 20), None, None),
    "xai_image.json": (Usage(details={"images": 2}), None, "openai"),
    "xai_response.json": (
        Usage(20872, 4872, 9920, None, 300, {"web_searches": 7, "tool_calls": 1}),
        "grok-4-fast",
        "x_ai",
    ),
    "fireworks_chat.sse": (Usage(214, 17, 192), "accounts/fireworks/models/deepseek-v3p1", "fireworks"),
    "fireworks_completion.json": (Usage(3, 16, 0), "accounts/fireworks/models/deepseek-v3p1", "fireworks"),
    "fireworks_embedding.json": (Usage(11), "nomic-ai/nomic-embed-text-v1.5", "openai"),
    "fireworks_message.json": (Usage(37, 6, 16), "accounts/fireworks/models/kimi-k2-instruct", "fireworks"),
    "fireworks_response.json": (Usage(31, 14, 8), "accounts/fireworks/models/qwen3-235b-a22b", "fireworks"),
    "moonshot_chat.json": (Usage(519, 21, 512), "kimi-k2-turbo-preview", "moonshot_ai"),
    "moonshot_message.json": (Usage(286, 7, 256, 0), "kimi-k2-turbo-preview", "moonshot_ai"),
    "moonshot_thinking.sse": (Usage(80, 46, 64), "kimi-k2-thinking", "moonshot_ai"),
    "zai_chat.json": (Usage(1214, 312, 1088), "glm-4.6", "zai"),
    "zai_chat.sse": (Usage(23, 158, 4, None, 141), "glm-4.5", "zai"),
    "zai_image.json": (Usage(details={"images": 1}), None, "openai"),
    "zai_message.sse": (Usage(168, 12, 128), "glm-4.6", "zai"),
    "cohere_v1_embed.json": (Usage(2), None, "cohere"),
    "cohere_v1_rerank.json": (Usage(details={"search_units": 2}), None, "cohere"),
    "deepseek_message.json": (Usage(76, 9, 64, 0), "deepseek-chat", "deepseek"),
    "gemini_openai_compatible.sse": (Usage(9, 34), "gemini-2.5-flash", "gcp.gemini"),
    "gemini_vertex.sse": (Usage(12, 48, 8, None, 43), "gemini-2.5-pro", "gcp.gemini"),
    "groq_chat_cached.json": (Usage(4641, 1817, 4608), "moonshotai/kimi-k2-instruct-0905", "groq"),
    "groq_transcription.json": (Usage(details={"seconds": 11}), None, "groq"),
    "litellm_message.json": (Usage(20, 4, 12, 0), "claude-sonnet-4-5", "anthropic"),
    "llama_cpp_chat.json": (Usage(68, 10, 60), "gpt-oss-20b.gguf", "openai"),
    "mistral_embedding.json": (Usage(15, 0), "mistral-embed", "mistral_ai"),
    "ollama_generate.json": (Usage(11, 18), "llama3.2", "ollama"),
    "openai_realtime.json": (
        Usage(132, 121, 64, details={"input_audio": 13, "output_audio": 91}),
        None,
        "openai",
    ),
    "openai_realtime_transcription.json": (Usage(13, 9, details={"input_audio": 13}), None, "openai"),
    "sglang_chat.sse": (Usage(33, 7, 32, None, 0), "Qwen/Qwen3-32B", "openai"),
    "sglang_chat_cached.json": (Usage(33, 7, 32), "Qwen/Qwen3-32B", "openai"),
    "tgi_chat.json": (Usage(39, 23), "meta-llama/Llama-3.1-8B-Instruct", "openai"),
    "tgi_chat.sse": (Usage(39, 2), "meta-llama/Llama-3.1-8B-Instruct", "openai"),
    "together_embedding.json": (Usage(6), "intfloat/multilingual-e5-large-instruct", "openai"),
    "together_image.json": (Usage(details={"images": 1}), "black-forest-labs/FLUX.1-schnell", "openai"),
    "together_rerank.json": (Usage(1837, 0), "Salesforce/Llama-Rank-v1", "openai"),
    "vllm_completion.json": (Usage(4, 7, 0), "facebook/opt-125m", "openai"),
    "vllm_rerank.json": (Usage(56), "BAAI/bge-reranker-base", "openai"),
    "anthropic_cache_moved.sse": (Usage(58354, 20, 58352, 0), "claude-opus-4-6", "anthropic"),
    "anthropic_fallback.json": (Usage(79216, 13658, 79214, 0), "claude-opus-4-8", "anthropic"),
    "anthropic_fallback.sse": (Usage(79216, 13658, 79214, 0), "claude-opus-4-8", "anthropic"),
    "cohere_embed_image.json": (Usage(1610, details={"input_image": 1600}), None, "cohere"),
    "gateway_cache_beside.json": (Usage(5600, 10, 5450, 100), "anthropic/claude-sonnet-4-5", "anthropic"),
    "gateway_image.json": (Usage(20, 1056, details={"output_image": 1056}), "gpt-image-1", "openai"),
    "mistral_chat_cached.json": (Usage(1100, 20, 1024), "mistral-medium-latest", "mistral_ai"),
}
TELLING_NONE = {
    "anthropic_session_events.sse": None,  # several clients may watch a session, and its events name no model
    "anthropic_batch.json": None,
    "azure_chat_without_usage.sse": "gpt-4o-mini",
    "openai_chat_without_usage.sse": "gpt-4o-mini",
    "openai_error.json": None,
}
ENDED_BY_DONE = {"litellm_chat.sse", "openrouter_chat.sse"}  # their last usage looks like earlier ones
PARTIAL = {"anthropic_overloaded.sse"}
FINAL_EVENT_IS_LAST = [  # answer, text up to which the usage is incomplete, that usage
    ("anthropic_message.sse", b"event: message_delta", Usage(25, 1)),
    (
        "gemini_stream.sse",
        b'data: {"candidates":[{"content":{"parts":[{"text":" patterns',
        Usage(8, 44, None, None, 40),
    ),
    ("vllm_chat_continuous.sse", b'"choices":[{"index":0,"delta":{"content":"!"}', Usage(11, 1)),
]


def deflate_bare(body):
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(body) + compressor.flush()


ENCODINGS = [
    pytest.param(b"gzip", gzip.compress, id="gzip"),
    pytest.param(b"deflate", zlib.compress, id="deflate"),
    pytest.param(b"deflate", deflate_bare, id="bare deflate"),
    pytest.param(b"br", brotli.compress, id="br"),
    pytest.param(b"zstd", zstandard.compress, id="zstd"),
]
NOISE = {  # what gateways send between events
    ".sse": [
        b": keep-alive",
        b'data: {"type": "ping"}',
        b"event: note\nid: 7",
        b'data: {"type": "ping", "of": "usage tokens error"}',
    ],
    ".ndjson": [b"", b"{}"],
}
KNOWN_BY_BEGINNING = {  # nothing else distinguishes these from other documents
    *("gemini_imagen.json", "groq_transcription.json", "openai_image_urls.json", "openai_transcription_verbose.json"),
    *("bedrock_images.json", "together_image.json", "xai_image.json", "xai_image_urls.json", "zai_image.json"),
}
PLACES = st.lists(st.integers(0, 10**6), max_size=12)
ENCODED = st.sampled_from([(None, bytes), *(one.values for one in ENCODINGS)])


def read(name, chunks, *, encoding=None, complete=True):
    reader = reader_for(CONTENT_TYPES[Path(name).suffix], encoding)
    for chunk in chunks:
        reader.feed(chunk)
    return reader.close(complete=complete)


def cut(body, size):
    return [body[start : start + size] for start in range(0, len(body), size)]


def expect(name):
    usage, model, provider = EXPECTED[name]
    return (usage, model, provider, "reported", None)


def test_every_golden_answer_has_an_expected_reading():
    assert {path.name for path in GOLDEN.iterdir()} == {*EXPECTED, *TELLING_NONE, *PARTIAL}


@pytest.mark.parametrize("name", EXPECTED)
def test_answer_reads_in_the_normal_form(name):
    assert read(name, [(GOLDEN / name).read_bytes()]) == expect(name)


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 61, 500])
def test_answer_reads_the_same_in_chunks(name, size):
    assert read(name, cut((GOLDEN / name).read_bytes(), size)) == expect(name)


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize(("encoding", "encode"), ENCODINGS)
def test_answer_reads_the_same_encoded(name, encoding, encode):
    body = encode((GOLDEN / name).read_bytes())
    assert read(name, [body], encoding=encoding) == expect(name)
    assert read(name, cut(body, 5), encoding=encoding) == expect(name)


@pytest.mark.parametrize("name", [name for name in EXPECTED if name.endswith("sse")])
@pytest.mark.parametrize("line_end", [b"\r", b"\r\n"])
def test_events_may_have_any_line_break(name, line_end):
    body = (GOLDEN / name).read_bytes().replace(b"\r\n", b"\n").replace(b"\n", line_end)
    for size in (1, 64, len(body)):
        assert read(name, cut(body, size)) == expect(name)


@pytest.mark.parametrize("name", EXPECTED)
def test_byte_order_mark_is_ignored(name):
    body = b"\xef\xbb\xbf" + (GOLDEN / name).read_bytes()
    assert read(name, [body]) == expect(name)
    assert read(name, cut(body, 1)) == expect(name)


@pytest.mark.parametrize(("name", "model"), TELLING_NONE.items())
def test_answer_without_usage_is_not_zero(name, model):
    host = "azure.ai.openai" if name.startswith("azure") else None  # by its prompt filter results
    assert read(name, [(GOLDEN / name).read_bytes()]) == (None, model, host, "none", "no_usage")


@pytest.mark.parametrize(
    ("name", "model", "usage"),
    [
        ("anthropic_two_messages.sse", "claude-sonnet-4-5", Usage(15, 20)),
        ("openai_two_completions.sse", "gpt-4o", Usage(5, 2)),
        ("anthropic_advisor.json", "claude-opus-4-6", Usage(823, 1612, 0, 0)),
        ("anthropic_fallback.json", "claude-fable-5", Usage(83192, 578, 72769, 10421)),
        ("openai_image_svg.json", "gpt-5", Usage(120, 900, None, None, 200)),
    ],
)
def test_separately_priced_parts_are_separate(name, model, usage):
    reader = reader_for(CONTENT_TYPES[Path(name).suffix], None)
    reader.feed((GOLDEN / name).read_bytes())
    reader.close(complete=True)
    assert [(part.reading.model, part.reading.usage) for part in reader.others] == [(model, usage)]


def test_anthropic_stream_that_failed_is_partial():
    reading = read("anthropic_overloaded.sse", [(GOLDEN / "anthropic_overloaded.sse").read_bytes()])
    assert reading == (Usage(25, 1), "claude-opus-4-1-20250805", "anthropic", "partial", "cut")


@pytest.mark.parametrize(("name", "before", "usage"), FINAL_EVENT_IS_LAST)
def test_stream_cut_before_its_last_usage_is_partial(name, before, usage):
    body = (GOLDEN / name).read_bytes()
    reading = read(name, [body[: body.index(before)]], complete=False)
    assert (reading.usage, reading.status, reading.missing) == (usage, "partial", "cut")


@pytest.mark.parametrize("name", sorted(EXPECTED.keys() - ENDED_BY_DONE))
def test_client_leaving_after_the_last_usage_changes_nothing(name):
    assert read(name, [(GOLDEN / name).read_bytes()], complete=False) == expect(name)


def test_openai_stream_cut_mid_event_has_its_model():
    body = (GOLDEN / "openai_chat.sse").read_bytes()
    reading = read("openai_chat.sse", [body[: body.index(b'"prompt_tokens"')]], complete=False)
    assert reading == (None, "gpt-4o-mini", None, "none", "cut")


@pytest.mark.parametrize("name", [name for name in EXPECTED if not name.endswith("json") or name.endswith("ndjson")])
@given(PLACES, PLACES, ENCODED)
@settings(deadline=None, max_examples=15)
def test_stream_reads_the_same_with_anything_between_its_events(name, places, cuts, encoded):
    kind = Path(name).suffix
    end = b"\n\n" if kind == ".sse" else b"\n"
    events = (GOLDEN / name).read_bytes().replace(b"\r\n", b"\n").rstrip(b"\n").split(end)
    for place in places:
        events.insert(place % len(events), NOISE[kind][place % len(NOISE[kind])])
    encoding, encode = encoded
    body = encode(b"".join(event + end for event in events))
    assert read(name, divide(body, cuts), encoding=encoding) == expect(name)


def shuffled(value, random):
    if isinstance(value, dict):
        members = [(name, shuffled(inner, random)) for name, inner in value.items()]
        random.shuffle(members)
        return dict(members)
    return [shuffled(inner, random) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", [name for name in EXPECTED if name.endswith(".json")])
@given(st.randoms(use_true_random=False), st.sampled_from([None, 1]), st.booleans(), PLACES, ENCODED)
@settings(deadline=None, max_examples=15)
def test_document_reads_the_same_in_any_formatting(name, random, indent, is_ascii, cuts, encoded):
    document = json.loads((GOLDEN / name).read_bytes())
    if name not in KNOWN_BY_BEGINNING:
        document = shuffled(document, random)
    encoding, encode = encoded
    body = encode(json.dumps(document, indent=indent, ensure_ascii=is_ascii).encode())
    assert read(name, divide(body, cuts), encoding=encoding) == expect(name)
