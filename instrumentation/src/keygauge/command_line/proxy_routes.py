"""The routes that `keygauge proxy` reports separately: those of servers that people run behind it."""

ROUTES = (
    *("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/v1/embeddings", "/v1/models"),
    *("/v1/messages/count_tokens", "/v1/responses/{response_id}", "/v1/models/{model:path}", "/v1/moderations"),
    *("/v1/rerank", "/v1/audio/transcriptions", "/v1/audio/translations", "/v1/audio/speech", "/v1/realtime"),
    *("/v1/images/generations", "/v1/images/edits"),
    *("/api/chat", "/api/generate", "/api/embed", "/api/embeddings", "/api/tags", "/api/show"),  # Ollama
    *("/api/ps", "/api/version", "/api/pull", "/api/push", "/api/create", "/api/copy", "/api/delete"),
    *("/completion", "/infill", "/embedding", "/apply-template", "/props", "/slots", "/lora-adapters"),  # llama.cpp
    *("/generate", "/generate_stream", "/chat_tokenize", "/info", "/tokenize", "/detokenize"),  # TGI, vLLM, SGLang
    *("/embed", "/embed_all", "/embed_sparse", "/predict", "/rerank", "/similarity", "/decode"),  # TEI
    *("/embeddings", "/classify", "/models", "/score", "/pooling"),  # Infinity, vLLM
)
