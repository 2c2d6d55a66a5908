#!/usr/bin/env bash
# Firefox ESR 153.8.0 and WebKitGTK 2.50.6 (Debian 12, firefox-esr 153.8.0esr-1~deb12u1, libwebkit2gtk-4.1-0
# 2.50.6-1~deb12u2): an EventSource does not note the `id` of a block that has no `data`. After such a block it
# comes back with the id that it had before, or with none. By the HTML standard (9.2.6) the field sets the last
# event ID buffer, and "dispatch the event" makes that the last event ID string in its first step; only then
# does it return if there are no data. Chromium (156.0.8078.108-1~deb12u1) does that. So a server that tells a
# client where it is before there is an event has to put data into that block.
#
# Each request is answered with one block, `id: 1`, then `id: 2` and `data: x`, then `id: 3`, and the end of the
# connection. The same ids come back if a chunked body is cut instead, by FIN or by RST.
#
# Seen, Last-Event-ID of four requests:
#   Chromium: none, 1, 2, 3
#   Firefox: none, none, 2, 2
#   WebKitGTK: none, none, 2, 2
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

for program in chromium firefox-esr Xvfb; do
    type -P "$program" >/dev/null || { echo "$program is not installed" >&2; exit 1; }
done
minibrowser=$(find /usr/lib -path '*/webkit2gtk-4.1/MiniBrowser' -print -quit)
[ -n "$minibrowser" ] || { echo 'MiniBrowser, of webkit2gtk-driver, is not installed' >&2; exit 1; }
dpkg-query --show chromium firefox-esr libwebkit2gtk-4.1-0

timeout --foreground 150 python3 - "$folder" "$minibrowser" <<'PYTHON'
import http.server, os, queue, signal, subprocess, sys, threading

folder, minibrowser = sys.argv[1:]
PAGE = b"<!doctype html><link rel=icon href=data:,><script>new EventSource('/stream')</script>"
STREAMS = [b"retry: 100\nid: 1\n\n", b"id: 2\ndata: x\n\n", b"id: 3\n\n"]

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body, kind = PAGE, "text/html"
        if self.path == "/stream":
            self.server.asked.put(self.headers["Last-Event-ID"] or "none")
            body, kind = next(self.server.streams, b""), "text/event-stream"
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        # It ends with the connection.
        self.wfile.write(body)

    def log_message(self, *_):
        pass

def start(*command, **options):
    # In a group of its own, as a browser is several processes.
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
                            **options)

def end(process):
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)

def ids_sent(*command):
    """The ids that a browser sends, with its first request and after each block."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.streams = queue.Queue(), iter(STREAMS)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    browser = start(*command, f"http://127.0.0.1:{server.server_port}/", stdout=subprocess.DEVNULL)
    try:
        return [server.asked.get(timeout=40) for _ in range(len(STREAMS) + 1)]
    except queue.Empty:
        sys.exit(f"{command[0]} does not ask within 40 s")
    finally:
        end(browser)
        server.shutdown()

# So that the browsers are ended too when time is up.
signal.signal(signal.SIGTERM, lambda *_: sys.exit("not within 150 s"))
os.environ.update(HOME=folder, TMPDIR=folder)
screen = start("Xvfb", "-displayfd", "1", "-screen", "0", "800x600x24", stdout=subprocess.PIPE)
try:
    os.environ["DISPLAY"] = ":" + screen.stdout.readline().decode().strip()
    seen = {
        "Chromium": ids_sent("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0",
                             "--user-data-dir=" + folder + "/chromium"),
        "Firefox": ids_sent("firefox-esr", "--headless", "--no-remote", "--new-instance", "--profile", folder),
        "WebKitGTK": ids_sent(minibrowser),
    }
finally:
    end(screen)
for name, ids in seen.items():
    print(f"{name}: {', '.join(ids)}")
assert seen == {
    "Chromium": ["none", "1", "2", "3"],
    "Firefox": ["none", "none", "2", "2"],
    "WebKitGTK": ["none", "none", "2", "2"],
}, "one of them behaves otherwise now"
PYTHON
