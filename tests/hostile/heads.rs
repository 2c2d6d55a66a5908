//! Request lines, header fields and targets that are nearly right, and other protocols.

use super::beginnings::STRANGERS;
use super::table::Fate::{Answered, Last, Refusal, Refused, Silence};
use super::table::Table;

fn get(lines: &[u8]) -> Vec<u8> {
    [b"GET /hello HTTP/1.1\r\nHost: a\r\n", lines, b"\r\n\r\n"].concat()
}

fn first_line(line: &[u8]) -> Vec<u8> {
    [line, b"\r\nHost: a\r\n\r\n"].concat()
}

fn target(target: &[u8]) -> Vec<u8> {
    first_line(&[b"GET ", target, b" HTTP/1.1"].concat())
}

fn version(version: &[u8]) -> Vec<u8> {
    first_line(&[b"GET /hello ", version].concat())
}

fn host(lines: &[u8]) -> Vec<u8> {
    [b"GET /hello HTTP/1.1\r\n", lines, b"\r\n\r\n"].concat()
}

pub(crate) fn add_to(table: &mut Table) {
    table.each(Refused(&[400]), BAD_LINES, first_line);
    table.each(Refused(&[400]), BAD_FIELDS, get);
    table.each(Answered(200), GOOD_FIELDS, get);
    table.each(Refused(&[417]), BAD_EXPECTATIONS, get);
    table.each(Refused(&[400]), BAD_HOSTS, host);
    table.each(Refused(&[400]), BAD_TARGETS, target);
    table.each(Answered(404), UNKNOWN_TARGETS, target);
    table.each(Answered(200), GOOD_TARGETS, target);
    table.each(Refused(&[400, 505]), BAD_VERSIONS, version);
    table.each(Refused(&[400, 505]), OTHER_PROTOCOLS, <[u8]>::to_vec);
    for (bytes, ..) in STRANGERS {
        table.add(Refused(&[400, 505]), *bytes);
    }
    table.each(Silence, UNFINISHED, <[u8]>::to_vec);
    add_methods(table);
    add_lengths(table);
    table.add(Last(200), get(b"Connection: close"));
    table.add(Last(200), get(b"Connection: keep-alive\r\nConnection: Upgrade,CLOSE"));
    table.add(Last(200), b"GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".as_slice());
    table.add(Answered(200), [&b"\r\n".repeat(5000), &get(b"X: y")[..]].concat());
    for seed in 1..=40 {
        table.add(Refusal, random_bytes(seed));
    }
}

const BAD_LINES: &[&[u8]] = &[
    b" GET /hello HTTP/1.1",
    b"\tGET /hello HTTP/1.1",
    b"\0GET /hello HTTP/1.1",
    b"\rGET /hello HTTP/1.1",
    b"\n\nGET /hello HTTP/1.1",
    b"\xef\xbb\xbfGET /hello HTTP/1.1",
    b"GET\t/hello\tHTTP/1.1",
    b"GET\x0b/hello HTTP/1.1",
    b"GET /hello\rHTTP/1.1",
    b"GET /hello\x0cHTTP/1.1",
    b"GET  /hello HTTP/1.1",
    b"GET /hello  HTTP/1.1",
    b"GET /hello HTTP/1.1 ",
    b"GET /hello HTTP/1.1\t",
    b"GET /hello HTTP/1.1\0",
    b"GET /hello HTTP/1.1\r",
    b"GET /hello HTTP/1.1 HTTP/1.1",
    b"GET /hello HTTP/1.1\rX: y",
    b"G\0T /hello HTTP/1.1",
    b"G@T /hello HTTP/1.1",
    b"G\xc3\x89T /hello HTTP/1.1",
    b"(GET) /hello HTTP/1.1",
    b"\"GET\" /hello HTTP/1.1",
    b"GET, /hello HTTP/1.1",
    b"GET: /hello HTTP/1.1",
    b"GET",
    b"GET ",
    b"GET /hello",
    b"/hello HTTP/1.1",
    b"HTTP/1.1 200 OK",
    b"HTTP/1.1",
    b":",
];

const BAD_FIELDS: &[&[u8]] = &[
    b"X\0: y",
    b"X\x7f: y",
    b"X\x80: y",
    b"\xc3\x89: y",
    b"X(Y): z",
    b"X@Y: z",
    b"X[Y]: z",
    b"X/Y: z",
    b"X,Y: z",
    b"X;Y: z",
    b"X\\Y: z",
    b"{X}: y",
    b"\"X\": y",
    b"X=y",
    b"=: y",
    b":",
    b" : y",
    b"::",
    b"X\t: y",
    b"X: \x01",
    b"X: \x1b[31m",
    b"X: \x08\x08",
    b"X: \x7f",
    b"X: y\0",
    b"X: y\r",
    b"X: y\r\r",
    b"X: y\r\n ",
    b"X: y\r\n \r\nZ: z",
    b"X: y\r\n\t\r\nHost: b",
    b"X: y\r\n\r \nZ: z",
    b"X: y\n\nGET /hello HTTP/1.1",
    b"GET /hello HTTP/1.1",
    b"Host: a",
    b"HOST: b",
    b"Host:",
    b"X: y\r\nhost: a",
];

/// What is odd, or asks for what is not to be had here, and changes nothing.
const GOOD_FIELDS: &[&[u8]] = &[
    b"X:",
    b"X: \xff\xfe",
    b"X: \tz y \t",
    b"X: :",
    b"!#$%&'*+-.^_`|~0: y",
    b"Host_: b",
    b"X-Host: b\r\nX-Forwarded-Host: c\r\nForwarded: host=d",
    b"Connection: Host",
    b"Connection: ,,;",
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
      Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    b"Connection: Upgrade\r\nUpgrade: TLS/1.0, HTTP/2.0, \xff",
    b"Expect: 100-continue",
    b"Range: bytes=0-0,-1,5-,99999999999999999999-",
    b"Accept-Encoding: gzip;q=9, *;q=-1",
    b"Accept: */*, text/event-stream;q=nan",
    b"If-None-Match: *\r\nIf-Modified-Since: never",
    b"Max-Forwards: -1\r\nVia: 1.1 a, 1.1 a, 1.1 a",
    b"X-HTTP-Method-Override: DELETE\r\nX-Original-URL: /send",
    b"Cookie: a=b; a=b; $Version=1\r\nCookie: \x80",
    b"Authorization: Basic ====",
    b"Content-Type: application/x-www-form-urlencoded",
];

const BAD_EXPECTATIONS: &[&[u8]] = &[
    b"Expect: 200-ok",
    b"Expect: 100-continue, 200-ok",
    b"Expect: 100-continue;q=1",
    b"Expect: 100",
    b"Expect: \xff",
    b"Expect:",
];

const BAD_HOSTS: &[&[u8]] = &[
    b"X: y",
    b"Host: a\r\nHost:",
    b"Host:\r\nHost: a",
    b"Host: a\r\nX: y\r\nhOST: a",
    b"Host: a, b\r\n c",
    b"Host: user@a",
    b"Host: user:pass@a:80",
    b"Host: a/hello",
    b"Host: http://a",
    b"Host: a?b",
    b"Host: a#b",
    b"Host: a\\b",
    b"Host: a b",
    b"Host: a\tb",
    b"Host: a, b",
    b"Host: <a>",
    b"Host: \"a\"",
    b"Host: a|b",
    b"Host: a^b",
    b"Host: `a`",
    b"Host: {a}",
    b"Host: \xe9",
    b"Host: a\xe2\x80\xa8",
    b"Host: a\0",
    b"Host: a\x1b",
    b"Host\0: a",
    b"Host\t: a",
    b"\tHost: a",
    b"Hosts: a",
    b"Host",
];

const BAD_TARGETS: &[&[u8]] = &[
    b"hello",
    b"./hello",
    b"../hello",
    b"?event=a",
    b"%2fhello",
    b"\\hello",
    b"*",
    b"**",
    b"a:80",
    b"a",
    b"/hello#x",
    b"/hello?x#y",
    b"#",
    b"http://a/hello#x",
    b"http:///hello",
    b"http://?x",
    b"http://",
    b"http://:80/hello",
    b"https://:/hello",
    b"http://b@a/hello",
    b"http://@a/hello",
    b"http://b:c@a:80/hello",
    b"http://a@b@c/hello",
    b"http://a\\b/hello",
    b"http://<a>/hello",
    b"http://a,b/hello",
    b"http://a|b?x",
    b"http://\xc3\xa9/hello",
    b"http:/hello",
    b"http:hello",
    b"http//a/hello",
    b"://a/hello",
    b"ftp://a/hello",
    b"file:///hello",
    b"javascript:alert(1)",
    b"ws://a/hello",
    b"httphttp://a/hello",
    b"/hel\0lo",
    b"/hel\x7flo",
    b"/hello\x1b",
    b"/%c0%ae%c0%ae/event",
    b"/%e0%80%af",
    b"/%ed%a0%80",
    b"/%f5%80%80%80",
    b"/%f8%88%80%80%80",
    b"/%80",
    b"/hello?%c1%bf",
    b"/hello?a=%fe&b=%ff",
    b"/hello?a=\xc3",
];

const UNKNOWN_TARGETS: &[&[u8]] = &[
    b"/hello/../hello",
    b"/./hello",
    b"/../../../etc/passwd",
    b"/%2e%2e/hello",
    b"/hello/",
    b"/hello//",
    b"//",
    b"///hello",
    b"//a/hello",
    b"/hello;a=b",
    b"/hello%00",
    b"/hello%0d%0aX:%20y",
    b"/hello%3fx",
    b"/hello%23x",
    b"/hello%2f",
    b"/hello%",
    b"/hello%2",
    b"/hello%zz",
    b"/hello%u0041",
    b"/%25%36%38ello",
    b"/%ef%bb%bfhello",
    b"/%e2%80%aehello",
    b"/<script>alert(1)</script>",
    b"/{{7*7}}$(id)`id`|id",
    b"/*",
    b"http://a",
    b"http://a?x",
    b"http://a//hello",
    b"HTTPS://a:0/hello%20",
];

const GOOD_TARGETS: &[&[u8]] = &[
    b"/hello?",
    b"/hello??",
    b"/hello?&&&==&=&%",
    b"/hello?%00",
    b"/hello?a=%0d%0aX:%20y",
    b"/hello?/../nope",
    b"/%68%65%6C%6C%6F",
    b"http://a/hello",
    b"hTTpS://b.example:99999/hello",
    b"http://[::1]:80/hello?x",
];

const BAD_VERSIONS: &[&[u8]] = &[
    b"HTTP/0.9",
    b"HTTP/1.2",
    b"HTTP/1.9",
    b"HTTP/1.10",
    b"HTTP/1.11",
    b"HTTP/1.1.1",
    b"HTTP/1.",
    b"HTTP/1",
    b"HTTP/.1",
    b"HTTP/11",
    b"HTTP/01.1",
    b"HTTP/1.01",
    b"HTTP/+1.1",
    b"HTTP/-1.1",
    b"HTTP/1,1",
    b"HTTP/1.a",
    b"HTTP/1.\xd9\xa1",
    b"HTTP/1.1x",
    b"HTTP/\0.1",
    b"HTTP/2",
    b"HTTP/4294967297.1",
    b"HTTP/",
    b"HTTP",
    b"http/1.1",
    b"Http/1.1",
    b"HTTPS/1.1",
    b"HTTP1.1",
    b"HTCPCP/1.0",
    b"RTSP/1.0",
    b"ICY/1.1",
];

/// What other programs say first, where a blank line is in it.
const OTHER_PROTOCOLS: &[&[u8]] = &[
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64",
    b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    b"\x16\x03\x01\0\x07\x01\0\0\x03\x03\x03\n\n\r\n\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 5 6\r\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\0\x05\0\x06\r\n\r\n",
    b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$0\r\n\r\n",
    b"EHLO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n\r\n",
    b"OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP a\r\n\r\n",
    b"M-SEARCH * HTTP/1.1\r\nHost: 239.255.255.250:1900\r\n\r\n",
    b"<policy-file-request/>\0\r\n\r\n",
    b"{\"jsonrpc\":\"2.0\",\"method\":\"x\"}\r\n\r\n",
    b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
];

/// Nothing is known of what they want when they end.
const UNFINISHED: &[&[u8]] = &[
    b"",
    b"\r",
    b"\r\n\r\n\r\n",
    b"P",
    b"PROXY ",
    b"PRI ",
    b"GET /hello\r\n",
    b"GET /hello HTTP/1.1\r\nHost: a\r\n",
    b"GET /hello HTTP/1.1\r\nHost: a\r\n\r",
    b"POST /send?event=own HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhell",
    b"POST /send?event=own HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    b"POST /send?event=own HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n",
];

fn add_methods(table: &mut Table) {
    let long = "A".repeat(5000);
    for (line, status) in [
        ("TRACE /hello HTTP/1.1", 405),
        ("TRACK /send HTTP/1.1", 405),
        ("CONNECT /hello HTTP/1.1", 405),
        ("PUT /send?event=smuggled HTTP/1.1", 405),
        ("post /send?event=smuggled HTTP/1.1", 405),
        ("Post /send?event=smuggled HTTP/1.1", 405),
        ("GET /send?event=smuggled HTTP/1.1", 405),
        ("GETT /hello HTTP/1.1", 405),
        ("!#$%&'*+-.^_`|~ /hello HTTP/1.1", 405),
        ("TRACE /nope HTTP/1.1", 404),
        ("OPTIONS /nope HTTP/1.1", 404),
        ("OPTIONS http://a/hello HTTP/1.1", 204),
        (&format!("{long} /hello HTTP/1.1"), 405),
    ] {
        table.add(Answered(status), first_line(line.as_bytes()));
    }
    for line in
        ["POST * HTTP/1.1", "OPTIONS *x HTTP/1.1", "OPTIONS *?x HTTP/1.1", "CONNECT a HTTP/1.1"]
    {
        table.add(Refused(&[400]), first_line(line.as_bytes()));
    }
}

fn add_lengths(table: &mut Table) {
    let long = |length| "a".repeat(length);
    table.add(
        Refused(&[414, 431]),
        first_line(format!("{} /hello HTTP/1.1", long(20_000)).as_bytes()),
    );
    table.add(Refused(&[414, 431]), long(100_000));
    table.add(Refused(&[414]), target(format!("http://{}/hello", long(8180)).as_bytes()));
    table.add(Refused(&[414]), target("/%61".repeat(2049).as_bytes()));
    table.add(Answered(200), get(format!("{}: y", long(8000)).as_bytes()));
    table.add(Refused(&[431]), get(format!("{}: y", long(17_000)).as_bytes()));
    table.add(Refused(&[431]), get("a:\r\n".repeat(100).as_bytes()));
    table.add(Refused(&[431]), get("Host: a\r\n".repeat(100).as_bytes()));
    table.add(Refused(&[431]), get("a:\r\n".repeat(30_000).as_bytes()));
    table.add(Refused(&[431]), get(format!("X: y\r\n {}", long(20_000)).as_bytes()));
    table.add(Refused(&[400]), vec![0; 20_000]);
    table.add(Refused(&[400]), vec![0xff; 300_000]);
    table.add(Refused(&[431, 414]), vec![b'x'; 300_000]);
    // As many parameters as there is room for, and of each type once.
    table.add(Answered(200), target(format!("/hello?{}", "a&".repeat(4092)).as_bytes()));
    table.add(Answered(200), target(format!("/hello?{}", "%26".repeat(2728)).as_bytes()));
    let many = format!("/event?event=nope{}", "&event=own".repeat(800));
    table.add(Answered(400), target(many.as_bytes()));
}

/// Up to 4 KiB of a sequence that looks random and is the same every time (xorshift).
fn random_bytes(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[4]
    };
    let length = 1 + usize::from(next()) * 16;
    (0..length).map(|_| next()).collect()
}
