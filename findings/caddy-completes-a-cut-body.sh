#!/usr/bin/env bash
# Caddy 2.6.2 (Debian 12, 2.6.2-5) in front of a server whose chunked response is cut, that is, whose connection
# ends (FIN) before the last chunk: it ends the client's response with a last chunk of its own, so that it looks
# complete. RFC 9112 (section 8) calls such a message incomplete. HAProxy 2.6.12, Apache httpd 2.4.71, lighttpd 1.4.69
# and nginx 1.22.1 with `proxy_http_version 1.1` cut the client's response as well. So behind Caddy a client cannot
# rely on an error to learn that a stream was broken off.
#
# Seen, the exit status of curl (18 is an incomplete transfer):
#   direct: 18
#   Caddy: 0
#   HAProxy: 18
#   Apache: 18
#   lighttpd: 18
#   nginx, HTTP/1.1: 18
set -euo pipefail
folder=$(mktemp -d)
pids=()
end() {
    kill "${pids[@]}" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$folder"
}
trap end EXIT

for program in caddy haproxy apache2 lighttpd nginx curl python3; do
    type -P "$program" >/dev/null || { echo "$program is not installed" >&2; exit 1; }
done
dpkg-query --show caddy haproxy apache2-bin lighttpd nginx

cat >"$folder/server.py" <<'PYTHON'
import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    connection, _ = listener.accept()
    request = b""
    while b"\r\n\r\n" not in request:
        part = connection.recv(4096)
        if not part:
            break
        request += part
    if request:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    connection.close()
PYTHON
coproc SERVER { exec timeout 60 python3 "$folder/server.py"; }
pids+=("$SERVER_PID")
read -r server <&"${SERVER[0]}"
free_port() { python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
caddy=$(free_port) haproxy=$(free_port) apache=$(free_port) lighttpd=$(free_port) nginx=$(free_port)

cat >"$folder/Caddyfile" <<EOF
{
    admin off
    auto_https off
    storage file_system $folder/caddy
}
:$caddy {
    reverse_proxy 127.0.0.1:$server
}
EOF
HOME=$folder timeout 60 caddy run --config "$folder/Caddyfile" --adapter caddyfile >"$folder/caddy.log" 2>&1 &
pids+=($!)
cat >"$folder/haproxy.cfg" <<EOF
defaults
    mode http
    timeout connect 5s
    timeout client 10s
    timeout server 10s
listen proxy
    bind 127.0.0.1:$haproxy
    server one 127.0.0.1:$server
EOF
timeout 60 haproxy -f "$folder/haproxy.cfg" >"$folder/haproxy.log" 2>&1 &
pids+=($!)
modules=/usr/lib/apache2/modules
cat >"$folder/apache.conf" <<EOF
LoadModule mpm_event_module $modules/mod_mpm_event.so
LoadModule authz_core_module $modules/mod_authz_core.so
LoadModule proxy_module $modules/mod_proxy.so
LoadModule proxy_http_module $modules/mod_proxy_http.so
ServerRoot $folder
ServerName localhost
PidFile $folder/apache.pid
ErrorLog $folder/apache.log
Listen 127.0.0.1:$apache
ProxyPass / http://127.0.0.1:$server/
EOF
timeout 60 apache2 -X -f "$folder/apache.conf" >"$folder/apache.out" 2>&1 &
pids+=($!)
cat >"$folder/lighttpd.conf" <<EOF
server.modules = ("mod_proxy")
server.document-root = "$folder"
server.bind = "127.0.0.1"
server.port = $lighttpd
server.stream-response-body = 1
proxy.server = ("" => (("host" => "127.0.0.1", "port" => $server)))
EOF
timeout 60 lighttpd -D -f "$folder/lighttpd.conf" >"$folder/lighttpd.log" 2>&1 &
pids+=($!)
cat >"$folder/nginx.conf" <<EOF
daemon off;
master_process off;
pid $folder/nginx.pid;
error_log $folder/nginx.log;
events {}
http {
    access_log off;
    client_body_temp_path $folder/body;
    proxy_temp_path $folder/proxy;
    fastcgi_temp_path $folder/fastcgi;
    uwsgi_temp_path $folder/uwsgi;
    scgi_temp_path $folder/scgi;
    server {
        listen 127.0.0.1:$nginx;
        location / {
            proxy_pass http://127.0.0.1:$server;
            proxy_http_version 1.1;
        }
    }
}
EOF
timeout 60 nginx -c "$folder/nginx.conf" -p "$folder" >"$folder/nginx.out" 2>&1 &
pids+=($!)

get() { # The exit status of curl at a port.
    local status=0
    curl --silent --show-error --no-buffer --max-time 10 --retry 20 --retry-connrefused --retry-delay 1 \
        --output "$folder/got" "http://127.0.0.1:$1/" 2>"$folder/error" || status=$?
    [ "$(cat "$folder/got")" = hello ] || { printf 'port %s: %s\n' "$1" "$(cat "$folder/error")" >&2; exit 1; }
    echo "$status"
}
seen=$(
    echo "direct: $(get "$server")"
    echo "Caddy: $(get "$caddy")"
    echo "HAProxy: $(get "$haproxy")"
    echo "Apache: $(get "$apache")"
    echo "lighttpd: $(get "$lighttpd")"
    echo "nginx, HTTP/1.1: $(get "$nginx")"
)
echo "$seen"
[ "$seen" = "direct: 18
Caddy: 0
HAProxy: 18
Apache: 18
lighttpd: 18
nginx, HTTP/1.1: 18" ]
