import anthropic
import httpx2
import openai
import pytest

from keygauge_demo.api.app import create_app


@pytest.fixture
async def transport():
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=create_app())) as client:
        yield client


@pytest.fixture
def openai_client(transport):
    return openai.AsyncOpenAI(api_key="k", base_url="http://demo/v1", http_client=transport, max_retries=0)


@pytest.fixture
def anthropic_client(transport):
    return anthropic.AsyncAnthropic(api_key="k", base_url="http://demo", http_client=transport, max_retries=0)
