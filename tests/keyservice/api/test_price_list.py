import pytest

from keygauge_keyservice.pricing.public_prices import PublicPrices


@pytest.mark.usefixtures("metered")
def test_prices_in_force_are_listed_with_their_source(call, make_event):
    for since, rate in (("2026-01-01", 7), ("2026-02-01", 8), ("2999-01-01", 9)):
        tiers = [{"input": rate * 10**9}]
        body = {"model": "gpt-4o-mini", "tiers": tiers, "valid_from": f"{since}T00:00:00Z"}
        call("POST", "/v1/prices", body, status=201)

    def find(query):
        return call("GET", f"/v1/prices/in-force?{query}")["prices"]

    listed = find("model=GPT-4o&limit=500")
    own = [entry for entry in listed if entry["source"] == "own"]
    assert [(entry["version"], entry["tiers"][0]["input"]) for entry in own] == [
        ("own 3", 9_000_000_000),
        ("own 2", 8_000_000_000),
    ]
    public = next(entry for entry in listed if (entry["provider"], entry["model"]) == ("openai", "gpt-4o-mini"))
    call_of_a_million = {"provider": "openai", "input_tokens": 10**6, "output_tokens": 0, "cache_read_tokens": 0}
    cost = PublicPrices()(make_event(model="gpt-4o-mini", **call_of_a_million))
    assert (public["source"], public["version"]) == ("public", cost.price_version)
    assert public["tiers"][0]["input"] == cost.nanousd
    assert all("gpt-4o" in entry["model"] for entry in listed)
    assert [len(find(query)) for query in ("source=own&past=1", "source=own", "model=no%20such%20model")] == [3, 2, 0]
    first, second = (call("GET", f"/v1/prices/in-force?limit=2&after={after}") for after in (0, 2))
    assert (first["next"], second["next"]) == ("2", "4")
    assert not {str(entry) for entry in first["prices"]} & {str(entry) for entry in second["prices"]}
