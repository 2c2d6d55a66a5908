//! How long a body is, told in every way that two readers could take differently (RFC 9112,
//! sections 6 and 7), and what is in it.

use super::table::Fate::{Answered, Last, Refused};
use super::table::Table;

const CHUNKS: &[u8] = b"5\r\nhello\r\n0\r\n\r\n";
/// A request that is a body, as far as the head before it says.
const INSIDE: &str = "POST /send?event=smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

fn post(lines: &[u8], body: &[u8]) -> Vec<u8> {
    [b"POST /send?event=own HTTP/1.1\r\nHost: a\r\n", lines, b"\r\n\r\n", body].concat()
}

fn chunked(body: &[u8]) -> Vec<u8> {
    post(b"Transfer-Encoding: chunked", body)
}

fn typed(kind: &[u8], body: &[u8]) -> Vec<u8> {
    let lines = format!("Content-Length: {}\r\nContent-Type: ", body.len());
    post(&[lines.as_bytes(), kind].concat(), body)
}

fn form(body: &[u8]) -> Vec<u8> {
    typed(b"application/x-www-form-urlencoded", body)
}

pub(crate) fn add_to(table: &mut Table) {
    table.each(Refused(&[400]), BAD_ENCODINGS, |lines| post(lines, CHUNKS));
    table.each(Answered(200), GOOD_ENCODINGS, |lines| post(lines, CHUNKS));
    table.each(Refused(&[400]), BAD_LENGTHS, |lines| post(lines, b"hello"));
    table.each(Refused(&[413]), HUGE_LENGTHS, |digits| {
        post(&[b"Content-Length: ", digits].concat(), b"hello")
    });
    table.each(Answered(200), GOOD_LENGTHS, |lines| post(lines, b"hello"));
    table.each(Refused(&[400]), BAD_CHUNKS, chunked);
    table.each(Refused(&[413]), HUGE_CHUNKS, chunked);
    table.each(Answered(200), GOOD_CHUNKS, chunked);
    add_floods(table);
    add_requests_inside(table);
    add_contents(table);
}

const BAD_ENCODINGS: &[&[u8]] = &[
    b"Transfer-Encoding : chunked",
    b"Transfer-Encoding\t: chunked",
    b"Transfer-Encoding\0: chunked",
    b"Transfer-Encoding\r\n: chunked",
    b"Transfer-Encoding:\r\n chunked",
    b"Transfer-Encoding: \0chunked",
    b"Transfer-Encoding: chunked\0",
    b"Transfer-Encoding:\x0cchunked",
    b"Transfer-Encoding: chunked\x0b",
    b"Transfer-Encoding: chunked\xa0",
    b"Transfer-Encoding: chunked,",
    b"Transfer-Encoding: ,chunked",
    b"Transfer-Encoding: chunked identity",
    b"Transfer-Encoding: identity, chunked",
    b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding: 'chunked'",
    b"Transfer-Encoding: chunked-",
    b"Transfer-Encoding: chun\xe2\x84\xaaed",
    b"Transfer-Encoding: cow\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\ntransfer-encoding: cow",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding:",
    b"Transfer-Encoding: chunked\r\n\tTransfer-Encoding: cow",
    b" Transfer-Encoding: chunked",
    b"X: y\r\n\tTransfer-Encoding: chunked",
    b"X: y\rTransfer-Encoding: chunked",
    b"X: y\nTransfer-Encoding: chunked",
    b"X: y\r\n\rTransfer-Encoding: chunked",
    b"Content-Length: 15\r\nTransfer-Encoding:\tchunked",
    b"Content-Length: 15\r\nTransfer-Encoding : chunked",
    b"Content-Length: 15\r\nTransfer-Encoding: cow",
    b"Content-Length: 15\r\ntransfer-encoding:",
    b"Transfer-Encoding: chunked\r\nX: y\r\nCONTENT-LENGTH:\t0",
];

/// What is odd here, but means one thing only.
const GOOD_ENCODINGS: &[&[u8]] = &[
    b"Transfer-Encoding:\t chunked\t ",
    b"transfer-ENCODING:CHUNKED",
    b"TE: gzip\r\nTransfer-Encoding: chunked",
    b"Trailer: Content-Length\r\nTransfer-Encoding: chunked",
    b"Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked",
    b"Transfer_Encoding: chunked\r\nContent-Length: 15",
    b"TransferEncoding: chunked\r\nContent-Length: 15",
    b"X-Transfer-Encoding: chunked\r\nContent-Length: 15",
    b"TE: chunked\r\nContent-Length: 15",
];

const BAD_LENGTHS: &[&[u8]] = &[
    b"Content-Length : 5",
    b"Content-Length\t: 5",
    b"Content-Length\0: 5",
    b"Content-Length:\r\n 5",
    b"Content-Length: 5\r\n 0",
    b"Content-Length: 5\0",
    b"Content-Length: \x0b5",
    b"Content-Length: 5\rX: y",
    b"Content-Length: 0b101",
    b"Content-Length: 0o5",
    b"Content-Length: 5-",
    b"Content-Length: 5+",
    b"Content-Length: --5",
    b"Content-Length: 5 \t 5",
    b"Content-Length: 5h",
    b"Content-Length: NaN",
    b"Content-Length: \xef\xbc\x95",
    b"Content-Length: 5\xa0",
    b"Content-Length: 5\xe2\x80\xa8",
    b"Content-Length: -18446744073709551611",
    b"Content-Length: 5\r\nContent-Length: +5",
    b"Content-Length: 5\r\nX: y\r\nContent-Length: 0",
    b"content-length: 0\r\nContent-Length: 5",
];

/// Each is 5 where only so many bits of it are kept.
const HUGE_LENGTHS: &[&[u8]] = &[
    b"4294967301",
    b"9223372036854775813",
    b"18446744073709551621",
    b"340282366920938463463374607431768211461",
    b"00000000000000000000018446744073709551621",
];

const GOOD_LENGTHS: &[&[u8]] = &[
    b"Content-Length:5",
    b"CONTENT-LENGTH: \t5\t ",
    b"Content-Length: 0000000000000000000000000000005",
    b"Content_Length: 50\r\nContent-Length: 5",
    b"X-Content-Length: 50\r\nContent-Length: 5",
    b"Connection: Content-Length\r\nContent-Length: 5",
    b"Content-Length: 5\r\nExpect: 100-CONTINUE",
];

const BAD_CHUNKS: &[&[u8]] = &[
    // 5 in 32 bits, and in 64.
    b"100000005\r\nhello\r\n0\r\n\r\n",
    b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    b"0000000000000005\r\nhello\r\n0\r\n\r\n",
    b"5\x0b\r\nhello\r\n0\r\n\r\n",
    b"5\0\r\nhello\r\n0\r\n\r\n",
    b"\t5\r\nhello\r\n0\r\n\r\n",
    b"5h\r\nhello\r\n0\r\n\r\n",
    b"5,\r\nhello\r\n0\r\n\r\n",
    b"\xef\xbc\x95\r\nhello\r\n0\r\n\r\n",
    b"5;a\0b\r\nhello\r\n0\r\n\r\n",
    b"5;a\x7f\r\nhello\r\n0\r\n\r\n",
    b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    b"5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n",
    b"5\r\r\nhello\r\n0\r\n\r\n",
    b"5\n\rhello\r\n0\r\n\r\n",
    b"5\r\nhello\n\r0\r\n\r\n",
    b"5\r\nhello\r\r\n0\r\n\r\n",
    b"5\r\nhello\r\n\r\n0\r\n\r\n",
    b"5\r\nhello\r\n0\r\n\r\r\n",
    b"5\r\nhello\r\n0\r\r\n\r\n",
    b"5\r\nhello\r\n-0\r\n\r\n",
    b"0\r\nX : y\r\n\r\n",
    b"0\r\n: y\r\n\r\n",
    b"0\r\nX y: z\r\n\r\n",
    b"0\r\nX: \0\r\n\r\n",
    b"0\r\nX\r\n\r\n",
    b"0\r\nX: y\r\n z\r\n\r\n",
    b"0\r\nX: y\n\r\n",
    b"0\r\nPOST /send?event=smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
];

const HUGE_CHUNKS: &[&[u8]] = &[
    b"100001\r\n",
    b"7fffffff\r\n",
    b"80000000\r\n",
    b"FFFFFFFF\r\nhello\r\n0\r\n\r\n",
    b"5\r\nhello\r\nfffffffb\r\n",
];

const GOOD_CHUNKS: &[&[u8]] = &[
    b"5 ;a\r\nhello\r\n0\r\n\r\n",
    b"5;a=\"x;y\";b\r\nhello\r\n0;c\r\n\r\n",
    b"5;\xff\xfe\r\nhello\r\n0\r\n\r\n",
    b"00000005\r\nhello\r\n00000000\r\n\r\n",
    // Fields that would matter in a head mean nothing in a trailer.
    b"5\r\nhello\r\n0\r\nContent-Length: 100\r\nTransfer-Encoding: gzip\r\nHost: b\r\n\r\n",
    b"5\r\nhello\r\n0\r\nExpect: nothing\r\nConnection: close\r\n\r\n",
    b"2f\r\nPOST /send?event=smuggled HTTP/1.1\r\nHost: a\r\n\r\n\r\n0\r\n\r\n",
];

fn add_floods(table: &mut Table) {
    table.add(Answered(200), chunked(&[&b"1\r\nx\r\n".repeat(60_000)[..], b"0\r\n\r\n"].concat()));
    table.add(Answered(200), chunked(&[b"0\r\n", &b"X: y\r\n".repeat(500)[..], b"\r\n"].concat()));
    let extension = [b"1;", &[b'x'; 240][..], b"\r\nx\r\n"].concat();
    table.add(Refused(&[400]), chunked(&extension.repeat(5000)));
    let sizes = [&[b'0'; 100][..], b"\r\n"].concat();
    table.add(Refused(&[400]), chunked(&sizes.repeat(1000)));
    let name = [b"0\r\n", &[b'x'; 300][..], b": y\r\n\r\n"].concat();
    table.add(Refused(&[400]), chunked(&name));
    table.add(Refused(&[400]), chunked(&[b"0\r\n", &b"a:\r\n".repeat(50_000)[..]].concat()));
    // Bytes that never become a line.
    table.add(Refused(&[400]), chunked(&[b'0'; 300]));
    table.add(Refused(&[400]), chunked(&vec![b';'; 100_000]));
}

/// What nobody wants is read all the same, or it would be taken for the next request.
fn add_requests_inside(table: &mut Table) {
    let length = format!("Content-Length: {}\r\n\r\n{INSIDE}", INSIDE.len());
    let chunks =
        format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{INSIDE}\r\n0\r\n\r\n", INSIDE.len());
    for (line, status) in [
        ("GET /hello HTTP/1.1", 200),
        ("GET /nope HTTP/1.1", 404),
        ("GET /event?event=nope HTTP/1.1", 400),
        ("POST /nope HTTP/1.1", 404),
        ("POST /hello HTTP/1.1", 405),
        ("POST /send?event=nope HTTP/1.1", 422),
        ("POST /send?event=own&data=twice HTTP/1.1", 400),
        ("DELETE /send HTTP/1.1", 405),
        ("TRACE /send HTTP/1.1", 405),
        ("OPTIONS /send HTTP/1.1", 204),
        ("OPTIONS * HTTP/1.1", 204),
    ] {
        for body in [&length, &chunks] {
            table.add(Answered(status), format!("{line}\r\nHost: a\r\n{body}"));
        }
    }
    let last = format!("POST /nope HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{length}");
    table.add(Last(404), last);
}

fn add_contents(table: &mut Table) {
    // NUL cannot be sent.
    table.add(Answered(422), form(b"data=%00"));
    table.add(Answered(422), form(b"data=a\0b"));
    table.add(Answered(422), typed(b"text/plain", b"\0"));
    table.add(Answered(400), form(b"da\0ta=x"));
    table.add(Answered(422), form(b"data=x&id=%00"));
    table.add(Answered(422), form(b"data=x&retry=5%00"));
    table.add(Answered(400), form(b"data=%ff"));
    table.add(Answered(400), form(b"data=%c0%80"));
    table.add(Answered(400), form(b"data=\xed\xbf\xbf"));
    table.add(Answered(400), form(b"data=%f4%90%80%80"));
    table.add(Answered(400), typed(b"text/plain; charset=utf-16", b"\xff\xfeh\0i\0"));
    table.add(Answered(415), typed(b"multipart/form-data; boundary=x", b"--x--\r\n"));
    table.add(Answered(415), typed(b"MULTIPART/mixed", b"x"));
    table.add(Answered(415), typed(b"multipart/", b""));
    table.add(Refused(&[400]), typed(b"text/\0plain", b"x"));
    let twice = b"application/x-www-form-urlencoded\r\nContent-Type: text/plain";
    table.add(Answered(200), typed(twice, b"data=x"));
    // Floods of parameters; empty ones are none.
    table.add(Answered(400), form(&b"data=x&".repeat(10_000)));
    table.add(Answered(400), form(&b"a&".repeat(500_000)));
    table.add(Answered(200), form(&vec![b'&'; 1 << 20]));
    table.add(Answered(400), form(&vec![b'='; 1 << 20]));
    table.add(Answered(400), form(&vec![b'%'; 1 << 20]));
    table.add(Answered(413), typed(b"text/plain", &vec![b'\n'; 1 << 20]));
    table.add(Answered(413), form(&[b"data=", &b"%0A".repeat(200_000)[..]].concat()));
}
