import pytest

from keygauge.http.routing.open_paths import OpenPaths

PATHS = OpenPaths(["/healthz", "/static*", "/größe"])


@pytest.mark.parametrize(
    ("path", "root_path", "is_open"),
    [
        ("/healthz", "", True),
        ("/api/healthz", "/api", True),  # uvicorn --root-path /api
        ("/api/healthz", "", False),
        ("/static/x.js", "", True),
        ("/api/secret", "/static", False),
        ("/static/secret", "/static", False),
        ("/größe", "", True),
        ("/healthz/", "", False),
    ],
)
def test_path_is_the_one_the_app_routes_by(path, root_path, is_open):
    assert PATHS.has_scope({"path": path, "root_path": root_path, "headers": []}) is is_open


@pytest.mark.parametrize(
    "path",
    [
        *("/static/../secret", "/static/a/./b", "/static/..", "/static\\..\\x", "/static/..;a/x"),
        *(
            "/static/%2e%2e/x",
            "/static/%2525252525252525x",
            "/static/..%2fx",
            "/static/%252E./x",
            "/static/..%3b/x",
        ),
        *("/static/..?x", "/static/..#"),
    ],
)
def test_a_path_that_leads_out_of_a_prefix_is_not_open(path):
    """The app may forward it to a server that shortens it."""
    assert not PATHS.has_scope({"path": path, "root_path": "", "headers": []})
    assert not PATHS.has_environ({"PATH_INFO": path})


@pytest.mark.parametrize("path", ["/static/..x", "/static/.well-known/x", "/static/a..b/c."])
def test_other_dots_are_part_of_names(path):
    assert PATHS.has_scope({"path": path, "root_path": "", "headers": []})
    assert PATHS.has_environ({"PATH_INFO": path})


@pytest.mark.parametrize("path", ["/static/secret", "/x/healthz", "/healthz"])
@pytest.mark.parametrize("root", ["/static", "/x", "/sta"])
def test_root_path_claimed_by_a_client_opens_nothing(path, root):
    headers = [(b"daphne-root-path", root.encode())]
    assert not PATHS.has_scope({"path": path, "root_path": root, "headers": headers})


def test_script_name_opens_nothing():
    assert not PATHS.has_environ({"SCRIPT_NAME": "/static", "PATH_INFO": "/secret"})
    assert not PATHS.has_environ({"SCRIPT_NAME": "/healthz", "PATH_INFO": ""})
    assert PATHS.has_environ({"SCRIPT_NAME": "/api", "PATH_INFO": "/healthz"})
    assert PATHS.has_environ({"PATH_INFO": "/größe".encode().decode("latin-1")})
