import gzip


def test_responses_are_compressed_if_the_client_accepts_gzip(client):
    plain = client.get("/v1/openapi.json")
    small = client.get("/v1/openapi.json", headers={"Accept-Encoding": "br, gzip;q=0.5"})
    assert plain.content_encoding is None
    assert small.content_encoding == "gzip"
    assert gzip.decompress(small.data) == plain.data
    assert "Accept-Encoding" in small.headers["Vary"]
    assert client.get("/v1/openapi.json", headers={"Accept-Encoding": "gzip;q=0"}).content_encoding is None


def test_unchanged_list_is_not_sent_again(client, operator, account):
    path = f"/v1/accounts/{account['id']}/keys"
    etag = client.get(path, headers=operator).headers["ETag"]
    again = client.get(path, headers=operator | {"If-None-Match": etag, "Accept-Encoding": "gzip"})
    assert (again.status_code, again.data) == (304, b"")
    client.post(path, json={"name": "prod"}, headers=operator)
    assert client.get(path, headers=operator | {"If-None-Match": etag}).status_code == 200
