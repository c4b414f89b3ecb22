from keygauge_keyservice.accounts import plans
from keygauge_keyservice.limits.definitions import Limit


def test_an_owner_chooses_an_offered_plan(connection, customer, signed_in):
    assert "contact the operator" in signed_in.get("/billing").text
    limits = [Limit(name="rpm", unit="request", amount=1200, window_s=60)]
    plans.create(connection, plan_id="vip", name="VIP", limits=limits, actor="test")
    for plan_id in ("pro", "vip"):
        plans.set_terms(connection, plan_id, prorated=True, self_service=True, actor="test")
    assert 'href="/billing/plan/vip"' in signed_in.get("/billing").text
    page = signed_in.get("/billing/plan/vip").text
    assert "Change to VIP?" in page
    assert "1,200 requests per minute" in page
    answer = signed_in.post("/billing/plan/vip", page="/billing/plan/vip")
    assert answer.status_code == 303
    page = signed_in.get(answer.location).text
    assert "Plan changed." in page
    assert "VIP plan" in page
    assert "Plan changes are prorated by day." in page
    again = signed_in.post("/billing/plan/pro", page="/billing/plan/pro")
    assert (again.status_code, "already changed today" in again.text) == (409, True)
    assert signed_in.get("/billing/plan/other").status_code == 404


def test_members_see_that_owners_choose_the_plan(connection, customer, signed_in):
    plans.create(connection, plan_id="vip", name="VIP", limits=[], actor="test")
    for plan_id in ("pro", "vip"):
        plans.set_terms(connection, plan_id, prorated=True, self_service=True, actor="test")
    connection.execute("UPDATE member SET role = 'member'")
    page = signed_in.get("/billing").text
    assert "/billing/plan/vip" not in page
    assert "Owners of this account can change the plan." in page
