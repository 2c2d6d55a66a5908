#!/usr/bin/env bash
# The crate sse-client 1.1.1 asks by HTTP/1.1 and does not undo the chunked transfer coding, which every HTTP/1.1
# recipient has to (RFC 9112, section 7.1): the line feed behind a chunk ends a line of the stream. So an event in
# two chunks is cut where the first one ends, and a chunk's end behind a line makes a blank line, which ends an event.
#
# A server sends `data: one` in two chunks, and `data: two` in one.
#
# Seen: event "o", event "two"
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

mkdir src
cat >Cargo.toml <<'TOML'
[package]
name = "look"
edition = "2021"
[dependencies]
sse-client = "=1.1.1"
TOML
cat >src/main.rs <<'RUST'
use sse_client::EventSource;
fn main() {
    let source = EventSource::new(&std::env::args().nth(1).unwrap()).unwrap();
    for event in source.receiver().iter() {
        println!("event {:?}", event.data);
        if event.data == "two" {
            return;
        }
    }
}
RUST
timeout 120 cargo build --quiet
cat >server.py <<'PYTHON'
import socket
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
listener.settimeout(30)
client, _ = listener.accept()
client.recv(4096)
client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
for chunk in [b"data: o", b"ne\n\n", b"data: two\n\n"]:
    client.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk))
client.settimeout(30)
client.recv(4096)
PYTHON
mkfifo port
timeout 60 python3 server.py >port &
read -r port <port
timeout 30 target/debug/look "http://127.0.0.1:$port/" | tee seen
wait
diff seen - <<'END'
event "o"
event "two"
END
