"""Hands out tokens to users that log in, each for what is for all and what is for that user:

  (umask 077; openssl rand -base64 32 > key)
  cargo run --release --features cli,jwt -- --token-key key &
  pip install pyjwt && python3 examples/token-server.py key 8000 &
  TOKEN=$(curl --silent --user ann:secret http://127.0.0.1:8000/token)
  curl -N -H "Authorization: Bearer $TOKEN" 'http://127.0.0.1:8080/event?channel=user/ann'

A browser has it as a cookie, so `new EventSource(...)` of a page on the same host needs no more. When the
token ends, so does the stream: fetch a new one shortly before, and the browser comes back with it.
"""

import base64
import http.server
import sys
import time

import jwt

KEY = open(sys.argv[1], "rb").read().removesuffix(b"\n")
LIFETIME = 600  # seconds
USERS = {"ann": "secret", "bob": "hidden"}  # yours come from a database
LOGINS = {"Basic " + base64.b64encode(f"{u}:{p}".encode()).decode(): u for u, p in USERS.items()}


class Tokens(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        user = LOGINS.get(self.headers.get("Authorization"))
        self.send_response(200 if user else 401)
        token = ""
        if user:
            channels = {"subscribe": ["", f"user/{user}"], "publish": [f"chat/{user}/*"]}
            claims = {"sub": user, "exp": int(time.time()) + LIFETIME, "websse": channels}
            token = jwt.encode(claims, KEY, algorithm="HS256")
            cookie = f"websse_token={token}; Max-Age={LIFETIME}; Path=/; HttpOnly; SameSite=Strict"
            self.send_header("Set-Cookie", cookie)
        else:
            self.send_header("WWW-Authenticate", "Basic")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(token.encode())


server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Tokens)
print(f"http://127.0.0.1:{server.server_port}/token", flush=True)
server.serve_forever()
