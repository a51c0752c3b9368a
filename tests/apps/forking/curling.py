"""A web service that asks itself by another program."""

import http.server
import os
import subprocess

PORT = int(os.environ["PORT"])


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/by-curl":
            url = f"http://127.0.0.1:{PORT}/asked"
            subprocess.run(["curl", "--silent", "--output", "/dev/null", "--noproxy", "*", url], check=True)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
