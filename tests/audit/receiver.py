"""Receives what a hook posts: each body that is signed right goes to a file, one a line."""
import hashlib
import hmac
import http.server
import sys

port, secret, into, how = int(sys.argv[1]), sys.argv[2].encode(), sys.argv[3], sys.argv[4:]
hang = how == ["hang"]


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if hang:
            print("hangs", flush=True)
            self.rfile.read(1)
            return
        at, signature = self.headers["foreshadow-signature"].removeprefix("t=").split(",v1=")
        right = hmac.new(secret, at.encode() + b"." + body, hashlib.sha256).hexdigest()
        status = 204 if hmac.compare_digest(signature, right) else 401
        if how[:1] == ["refuse"] and self.headers["foreshadow-record"] == how[1]:
            status = 422
        if status == 204:
            with open(into, "ab") as out:
                out.write(body + b"\n")
        self.send_response(status)
        self.end_headers()

    def log_message(self, form, *args):
        print(form % args, flush=True)


server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Receiver)
print("listens", flush=True)
server.serve_forever()
