#!/usr/bin/env bash
# PHP 8.2.36 (`fopen` of an http address, as Guzzle 7.4.5 with `stream` does too): `fread` waits although it has
# something to return, if that came with the response head; by the manual, a read of a network stream ends as soon
# as a packet is available. So the first event of a stream, where a server sends it together with the head, is handed
# out when the next one comes, be it much later. `fgets` hands out its lines at once.
#
# A server sends its head with `data: one`, and `data: two` 2 s later.
#
# Seen: fread: one and two, late; fgets: one, at once; two, late
set -euo pipefail
type -P php >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends php-cli; } >/dev/null
php --version | head -n 1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat >server.py <<'PYTHON'
import socket, time
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
listener.settimeout(30)
client, _ = listener.accept()
client.recv(4096)
head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
client.sendall(head + b"data: one\n\n")
time.sleep(2)
client.sendall(b"data: two\n\n")
client.close()
PYTHON
cat >look.php <<'PHP'
<?php
[, $with, $url] = $argv;
$begin = microtime(true);
$context = stream_context_create(['http' => ['protocol_version' => '1.1']]);
$stream = fopen($url, 'r', false, $context);
while (!feof($stream)) {
    $text = $with === 'fread' ? fread($stream, 1024) : fgets($stream);
    preg_match_all('/data: (\w+)/', (string) $text, $events);
    $when = microtime(true) - $begin < 1 ? 'at once' : 'late';
    if ($events[1]) {
        printf("%s: %s, %s\n", $with, implode(' and ', $events[1]), $when);
    }
}
PHP
for with in fread fgets; do
    mkfifo "$with"
    timeout 60 python3 server.py >"$with" &
    read -r port <"$with"
    timeout 30 php look.php "$with" "http://127.0.0.1:$port/" | tee -a seen
    wait
done
diff seen - <<'END'
fread: one and two, late
fgets: one, at once
fgets: two, late
END
