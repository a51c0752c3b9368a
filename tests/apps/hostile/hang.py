"""A web service that looks like a Node program whose package.json never answers: it is on a FUSE file system (fuse(4)) without a
daemon, in a mount namespace of this process alone."""

import ctypes
import http.server
import os
import sys

CLONE_NEWNS = 0x20000
MS_REC, MS_PRIVATE = 0x4000, 0x40000

libc = ctypes.CDLL(None, use_errno=True)


def demand(result):
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


device = os.open("/dev/fuse", os.O_RDWR)
demand(libc.unshare(CLONE_NEWNS))
demand(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))
package = os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), "package.json")
options = f"fd={device},rootmode=100644,user_id=0,group_id=0"
demand(libc.mount(b"hang", package.encode(), b"fuse", 0, options.encode()))
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
