"""The demo's metered service: a FastAPI app with OpenAI Chat Completions and Anthropic Messages."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from keygauge_demo.api import chat, messages
from keygauge_demo.api.catalog import MODELS, Model

CATALOG_BORN = 1_735_689_600  # 2025-01-01, for the models' `created`
CATALOG_BORN_TEXT = "2025-01-01T00:00:00Z"


def create_app() -> FastAPI:
    """Create the API without metering."""
    app = FastAPI(title="KeyGauge demo API", docs_url="/docs", redoc_url=None)
    app.include_router(chat.router)
    app.include_router(messages.router)
    app.add_api_route("/v1/models", list_models, methods=["GET"])
    app.add_api_route("/healthz", report_health, methods=["GET"])
    app.add_exception_handler(RequestValidationError, refuse_request)
    return app


async def list_models(request: Request) -> JSONResponse:
    """List the models in the format of the calling SDK."""
    if "anthropic-version" in request.headers:
        return JSONResponse(_list_for_anthropic())
    data = [_describe(model) for model in MODELS.values()]
    return JSONResponse({"object": "list", "data": data})


async def report_health() -> dict[str, str]:
    """Report that the process is up."""
    return {"status": "ok"}


async def refuse_request(request: Request, error: Exception) -> JSONResponse:
    """Convert the first validation error of a body to the error that the caller's SDK expects."""
    first = error.errors()[0] if isinstance(error, RequestValidationError) else {"loc": (), "type": "request"}
    place = ".".join(str(part) for part in first["loc"][1:])
    text = f"{place or 'body'}: {'is required' if first['type'] == 'missing' else 'is not valid'}"
    if request.url.path == "/v1/messages":
        return messages.refuse(400, text, kind="invalid_request_error")
    return chat.refuse(400, text, kind="invalid_request_error", param=place or None)


def _describe(model: Model) -> dict[str, Any]:
    return {"id": model.id, "object": "model", "created": CATALOG_BORN, "owned_by": model.provider}


def _list_for_anthropic() -> dict[str, Any]:
    models = [model for model in MODELS.values() if model.provider == "anthropic"]
    data = [
        {
            "type": "model",
            "id": model.id,
            "display_name": model.display_name,
            "created_at": CATALOG_BORN_TEXT,
            "lifecycle": "active",
        }
        for model in models
    ]
    return {"data": data, "has_more": False, "first_id": models[0].id, "last_id": models[-1].id}
