"""A key service with scripted answers."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Scripted:
    """A script: `answers` are (status, document) in order, the last one repeated; `asked` are (path, body)."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []
        self.url = ""

    def answer(self, path, body):
        self.asked.append((path, body))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def scripted(*answers):
    """Serve scripted answers on loopback within the context."""
    script = Scripted(*answers)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            status, document = script.answer(self.path, body)
            body_bytes = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body_bytes)))
            self.end_headers()
            self.wfile.write(body_bytes)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    script.url = f"http://127.0.0.1:{server.server_port}"
    yield script
    server.shutdown()
    thread.join()
    server.server_close()
