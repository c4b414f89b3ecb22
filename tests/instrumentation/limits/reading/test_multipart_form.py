import pytest
from hypothesis import given
from hypothesis import strategies as st

from keygauge.limits.reading.multipart_form import read

TYPE = "multipart/form-data; boundary=b"


def part(name, content, *, more=""):
    return f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n{more}\r\n{content}\r\n'


def form(*parts):
    return ("".join(parts) + "--b--\r\n").encode()


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters='"\\'), max_size=9),
            st.text(st.characters(codec="utf-8"), max_size=20).filter(lambda text: "--b" not in text),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_forms_of_usual_clients_are_read(fields):
    fields = [(name.strip(), content) for name, content in fields]
    assert read(form(*(part(*field) for field in fields)), TYPE) == fields


def test_quoted_boundaries_and_files_are_read():
    body = form(part("model", "whisper-1"), part("file", "\x00\x01", more="Content-Type: audio/mpeg\r\n"))
    for content_type in (TYPE, 'multipart/form-data; boundary="b"', "multipart/form-data; Boundary=b; x=y"):
        assert read(body, content_type) == [("model", "whisper-1"), ("file", "\x00\x01")]


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=b; boundary=c",
        "multipart/form-data; boundary*=b",
        "multipart/form-data; boundary=é",
        'multipart/form-data; boundary="a b"',
        "multipart/form-data; boundary=b; x=" + "y" * 1024,
    ],
)
def test_ambiguous_content_types_are_not_read(content_type):
    assert read(form(part("model", "m")), content_type) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--b--\r\nmore--b",
        b"before\r\n" + form(part("model", "m")),
        form(part("model", "m")).removesuffix(b"--b--\r\n"),
        form(part("model", "in --b it")),
        form(part("model", "m", more="Content-Disposition: form-data; name=x\r\n")),
        form(part("model", "m", more="Content-Transfer-Encoding: base64\r\n")),
        form(part("model", "m", more="X: 1\r\n folded: yes\r\n")),
        form(part("model", "m", more="X: 1\nY: 2\r\n")),
        form('--b\r\nContent-Disposition: form-data; name="a"; name="b"\r\n\r\nm\r\n'),
        form("--b\r\nContent-Disposition: form-data; name*=UTF-8''a; name=\"b\"\r\n\r\nm\r\n"),
        form("--b\r\n\r\nm\r\n"),
        form("--b\r\nContent-Disposition: form-data\r\n\r\nm\r\n"),
        form(part("m" * 1024, "m")),
        form(*[part("a", "m")] * 101),
    ],
)
def test_ambiguous_bodies_are_not_read(body):
    assert read(body, TYPE) is None


@given(st.binary(max_size=200))
def test_any_body_is_read_without_errors(body):
    for whole in (body, form("--b") + body, b"--b\r\n" + body + b"--b--"):
        assert isinstance(read(whole, TYPE), list | None)
