"""Receives what a hook posts: each body that is signed right goes to a file, one a line."""
import hashlib
import hmac
import http.server
import ssl
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
        if how[:1] == ["redirect"]:
            print("redirects", flush=True)
            self.send_response(307)
            self.send_header("location", how[1])
            self.end_headers()
            return
        if how == ["endless"]:
            self.pour(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536)
            return
        if how == ["headers"]:
            self.pour(b"HTTP/1.1 200 OK\r\n", b"x: y\r\n" * 1000)
            return
        if status == 204:
            with open(into, "ab") as out:
                out.write(body + b"\n")
        self.send_response(status)
        self.end_headers()

    def pour(self, head, more):
        self.wfile.write(head)
        try:
            while True:
                self.wfile.write(more)
        except OSError:
            print("has enough", flush=True)
            self.close_connection = True

    def log_message(self, form, *args):
        print(form % args, flush=True)


server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Receiver)
if how[:1] == ["tls"]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(how[1], how[2])
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print("listens", flush=True)
server.serve_forever()
