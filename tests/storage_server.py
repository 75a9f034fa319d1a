"""A server that speaks as much of Cloud Storage as uploads that replace nothing, and downloads, need."""

import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit


class Buckets:
    """Objects by gs:// URI, what was uploaded in order, and what is refused next."""

    def __init__(self):
        self.objects, self.uploads, self.refuse = {}, [], None

    def upload(self, bucket, query, kind, body):
        """Status and body of a multipart upload, which must not replace anything."""
        assert query == {"uploadType": ["multipart"], "ifGenerationMatch": ["0"]}, query
        if self.refuse:
            status, message = self.refuse
            return status, error(status, message)
        boundary = re.search(rb"boundary=\"?([^\";]+)", kind.encode())[1]
        _, told, content, _ = body.split(b"--" + boundary)
        name = json.loads(told.split(b"\r\n\r\n", 1)[1])["name"]
        uri = f"gs://{bucket}/{name}"
        if uri in self.objects:
            return 412, error(412, "At least one of the pre-conditions you specified did not hold.")
        self.objects[uri] = content.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")
        self.uploads.append(uri)
        return 200, {"name": name, "bucket": bucket}

    def download(self, uri):
        """Status and content of an object."""
        if self.refuse:
            return self.refuse[0], error(*self.refuse)
        return (
            (200, self.objects[uri]) if uri in self.objects else (404, error(404, f"No such object: {uri}"))
        )


def error(code, message):
    """An error as Google's JSON has it."""
    return {"error": {"code": code, "message": message, "errors": [{"message": message}]}}


@contextmanager
def serving():
    """The buckets, and the URL of their server."""
    buckets = Buckets()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, status, told):
            content = told if isinstance(told, bytes) else json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self):
            where = urlsplit(self.path)
            bucket, name = re.fullmatch(r"/download/storage/v1/b/([^/]+)/o/([^/]+)", where.path).groups()
            self.answer(*buckets.download(f"gs://{bucket}/{unquote(name)}"))

        def do_POST(self):
            where = urlsplit(self.path)
            (bucket,) = re.fullmatch(r"/upload/storage/v1/b/([^/]+)/o", where.path).groups()
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(*buckets.upload(bucket, parse_qs(where.query), self.headers["Content-Type"], body))

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield buckets, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
