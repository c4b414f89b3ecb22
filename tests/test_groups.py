import pytest


@pytest.mark.xdist_group("kept")
def test_xdist_keeps_groups_together(request):
    spread = request.config.getoption("dist", "no")
    if spread == "loadgroup":
        assert request.node.nodeid.endswith("@kept")
