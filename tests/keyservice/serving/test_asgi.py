import json

from keygauge_keyservice.serving.asgi import refuse


async def test_a_refusal_is_a_complete_problem_response():
    sent = []

    async def send(message):
        sent.append(message)

    await refuse(send, 503, "busy", "The key service is busy. Try again in a moment.")
    start, body = sent
    headers = dict(start["headers"])
    assert (start["status"], headers[b"content-type"]) == (503, b"application/problem+json")
    assert int(headers[b"content-length"]) == len(body["body"])
    assert headers[b"retry-after"] == b"1"
    assert json.loads(body["body"])["code"] == "busy"
    assert not body.get("more_body")
