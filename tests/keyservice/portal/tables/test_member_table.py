import csv


def test_members_are_available_as_csv_and_json(signed_in, customer, invite):
    invite("grace@acme.example", "viewer")
    rows = signed_in.get("/members.json").json["members"]
    assert [(row["email"], row["role"], row["is_invited"]) for row in rows] == [
        (customer.member.email, "owner", False),
        ("grace@acme.example", "viewer", True),
    ]
    written = list(csv.DictReader(signed_in.get("/members.csv").text.splitlines()))
    assert [row["email"] for row in written] == [row["email"] for row in rows]
