# Varnish (7.1) in front of websse.
vcl 4.1;

backend websse {
    .host = "127.0.0.1";
    .port = "8080";
}

sub vcl_recv {
    # Otherwise a client could say what it likes.
    unset req.http.X-Forwarded-Host;
    # The stream: otherwise the first events wait until more follows.
    if (req.url ~ "^/event(\?|$)") {
        return (pipe);
    }
    # Nothing else is for the cache.
    return (pass);
}

sub vcl_backend_fetch {
    # A connection for each request, as a POST that crosses websse's close of an idle one gets a 503.
    set bereq.http.Connection = "close";
}
