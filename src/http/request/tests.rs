//! Unit tests of requests and of the reading of their heads.

use super::*;

fn limits() -> Limits {
    Limits::default().head_bytes(1000).target_bytes(100).headers(4).body_bytes(50)
}

/// What a head of these lines is read as; of a refusal, its status.
fn read(lines: &[&str]) -> Result<Head, u16> {
    let bytes = lines.join("\r\n") + "\r\n\r\n";
    let peer = Some(SocketAddr::from(([127, 0, 0, 1], 80)));
    let head = parse(bytes.as_bytes(), &limits(), peer, Fate::Open);
    head.map_err(|refusal| refusal.status)
}

/// What a request with this head field is read as.
fn with(field: &str) -> Result<Head, u16> {
    read(&["POST / HTTP/1.1", "Host: a", field])
}

fn refusal(lines: &[&str]) -> Option<u16> {
    read(lines).err()
}

#[test]
fn a_head_is_read_as_it_came() {
    let head = read(&["GET /a%20b?c=d%21&e HTTP/1.1", "Host: a:80", "X-A: 1", "x-a: 2"]);
    let Head { request, framing, keep_alive, expects_continue } = head.expect("it is good");
    assert_eq!((request.method(), request.path()), ("GET", "/a b"));
    let query: Vec<_> = request.query().collect();
    assert_eq!(query, [("c".into(), "d!".into()), ("e".into(), "".into())]);
    assert_eq!(request.header("X-a"), Some(&b"1"[..]));
    assert_eq!(request.headers("X-a").collect::<Vec<_>>(), [b"1", b"2"]);
    assert_eq!(request.header("X-"), None);
    assert_eq!(request.peer(), Some(SocketAddr::from(([127, 0, 0, 1], 80))));
    assert_eq!(request.fate(), Fate::Open);
    assert_eq!((framing, keep_alive, expects_continue), (Framing::Length(0), true, false));
    assert!(request.body().is_empty());
}

#[test]
fn a_body_is_a_form_if_it_says_so_and_decodes() {
    let form = |kind: &str, body: &str| {
        let request = Request::new("POST", "/").expect("the target is good");
        let request = request.with_header("Content-Type", kind).with_body(body);
        let fields = request.form().map(|form| form.map(|(name, value)| format!("{name}={value}")));
        (request.has_form(), fields.map(Iterator::collect::<Vec<_>>))
    };
    let fields = Some(vec!["a=b c".to_owned(), "d=ü".to_owned()]);
    for kind in ["application/x-www-form-urlencoded", "Application/X-WWW-form-urlencoded ;a=b"] {
        assert_eq!(form(kind, "a=b+c&d=%C3%BC"), (true, fields.clone()), "{kind}");
        assert_eq!(form(kind, "a=%FF"), (true, None), "it is not UTF-8");
    }
    assert_eq!(form("text/plain", "a=b"), (false, None));
    let mut request = Request::new("POST", "/").expect("the target is good");
    assert!(!request.has_form() && request.has_type(""));
    assert_eq!((request.peer(), request.fate()), (None, Fate::None));
    request.set_body(b"abc".to_vec());
    assert_eq!(request.body(), b"abc");
    let error = Request::new("GET", "no slash").expect_err("no client sends that");
    assert!(error.to_string().contains("slash"), "{error}");
}

#[test]
fn the_end_of_a_head_is_found_in_pieces_of_every_size() {
    let heads =
        ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\nHost: a\n\n", "\n\n", "\n\r\n"];
    for head in heads {
        let bytes = format!("{head}more\r\n\r\n").into_bytes();
        for piece in 1..=bytes.len() {
            let (mut scanned, mut had) = (0, 0);
            let found = loop {
                let before = had;
                had = (had + piece).min(bytes.len());
                let found = find_end(&bytes[..had], &mut scanned);
                if found.is_some() || had == bytes.len() {
                    break found;
                }
                // What was looked at before is not looked at again, but for the last two bytes.
                assert_eq!(scanned, had.saturating_sub(2), "{before} to {had} of {head:?}");
            };
            assert_eq!(found, Some(head.len()), "{head:?} by {piece}");
        }
        assert_eq!(find_end(&head.as_bytes()[..head.len() - 1], &mut 0), None, "{head:?}");
    }
    // It never goes back.
    let mut scanned = 5;
    assert_eq!((find_end(b"\n\n", &mut scanned), scanned), (None, 5));
}

#[test]
fn a_head_that_does_not_end_is_refused_where_it_is_too_long() {
    let limits = limits();
    let status = |bytes: &[u8]| refuse_unfinished(bytes, &limits).map(|refusal| refusal.status);
    let line = |length: usize| [&vec![b'x'; length][..], b"\r\n"].concat();
    assert_eq!(status(&[b'x'; 132]), None);
    assert_eq!(status(&[b'x'; 133]), Some(414), "a target of 100 bytes, and 32 beside it");
    assert_eq!((status(&line(131)), status(&line(132))), (None, Some(414)));
    let head = |length: usize| [line(100), vec![b'x'; length - 102]].concat();
    assert_eq!((status(&head(999)), status(&head(1000))), (None, Some(431)));
    let said = refuse_unfinished(&head(1000), &limits).expect("it is too long").reason;
    assert_eq!(said, "the request head is longer than 1000 bytes");
    let said = refuse_unfinished(&[b'x'; 133], &limits).expect("it is too long").reason;
    assert_eq!(said, "the request target is longer than 100 bytes");
}

#[test]
fn a_complete_head_may_be_as_long_as_its_limits_and_no_longer() {
    let target = |length: usize| format!("GET /{} HTTP/1.1", "x".repeat(length - 1));
    assert_eq!(refusal(&[&target(100), "Host: a"]), None);
    // As well where the request line as a whole is short enough, or much too long.
    for length in [101, 118, 119, 120, 500, 2000] {
        assert_eq!(refusal(&[&target(length), "Host: a"]), Some(414), "{length}");
    }
    let field = |length: usize| format!("X: {}", "x".repeat(length - 3));
    let head = |length: usize| {
        let others = "GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n".len();
        refusal(&["GET / HTTP/1.1", "Host: a", &field(length - others)])
    };
    assert_eq!((head(1000), head(1001)), (None, Some(431)));
    let fields = ["GET / HTTP/1.1", "Host: a", "A: 1", "B: 2", "C: 3", "D: 4"];
    assert_eq!((refusal(&fields[..5]), refusal(&fields)), (None, Some(431)));
}

#[test]
fn lines_end_with_both_bytes() {
    let status = |bytes: &[u8]| {
        parse(bytes, &limits(), None, Fate::None).err().map(|refusal| refusal.reason.into_owned())
    };
    let refused = Some("lines of a request head end with CR and LF".to_owned());
    for bare in [
        &b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        b"GET / HTTP/1.1\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\n",
    ] {
        assert_eq!(status(bare), refused, "{}", String::from_utf8_lossy(bare));
    }
    assert_eq!(status(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), None);
    assert!(status(b"GET / HTTP/1.1\r\nHost: a\r\n").is_some_and(|said| said.contains("example")));
}

#[test]
fn what_is_malformed_is_said() {
    let said = |lines: &[&str]| {
        let bytes = lines.join("\r\n") + "\r\n\r\n";
        let refused = parse(bytes.as_bytes(), &limits(), None, Fate::None);
        let refused = refused.expect_err("it is malformed");
        (refused.status, refused.reason.chars().take(13).collect::<String>())
    };
    for (line, status, begin) in [
        ("GET / HTTP/2.0", 505, "use HTTP/1.1 "),
        ("GET / HTTP/0.9", 505, "use HTTP/1.1 "),
        ("GET / HTTP/x", 400, "malformed req"),
        ("GET / FTP/1.1", 400, "malformed req"),
        ("GET /", 400, "malformed req"),
        ("GET / / HTTP/1.1", 400, "malformed req"),
        ("G(T / HTTP/1.1", 400, "malformed req"),
    ] {
        assert_eq!(said(&[line, "Host: a"]), (status, begin.to_owned()), "{line}");
    }
    for field in ["A", "A : b", "A: b\0", " A: b"] {
        let expected = (400, "malformed hea".to_owned());
        assert_eq!(said(&["GET / HTTP/1.1", "Host: a", field]), expected, "{field:?}");
    }
}

#[test]
fn a_host_is_one_name_or_address_and_is_missing_in_the_old_version_only() {
    for good in ["Host: a", "Host:", "host: [::1]:80", "Host: a-b.c_d~%20!$&'()*+;=:1"] {
        assert_eq!(refusal(&["GET / HTTP/1.1", good]), None, "{good}");
    }
    for bad in ["Host: a/b", "Host: a b", "Host: a,b", "Host: a@b", "Host: a\"", "X: y"] {
        assert_eq!(refusal(&["GET / HTTP/1.1", bad]), Some(400), "{bad}");
    }
    assert_eq!(refusal(&["GET / HTTP/1.1", "Host: a", "Host: a"]), Some(400));
    assert_eq!(refusal(&["GET / HTTP/1.0"]), None);
    assert_eq!(refusal(&["GET / HTTP/1.0", "Host: a b"]), Some(400));
    assert_eq!(refusal(&["GET / HTTP/1.0", "Host: a", "Host: a"]), Some(400));
}

#[test]
fn the_host_that_is_asked_is_that_of_the_target_or_the_field() {
    let host = |lines: &[&str]| {
        let head = read(lines).expect("it is good");
        head.request.host().map(str::to_owned)
    };
    for (target, expected) in [("/", "a:80"), ("http://b", "b"), ("HTTPS://b:81/c?d", "b:81")] {
        let line = format!("GET {target} HTTP/1.1");
        assert_eq!(host(&[&line, "Host: a:80"]).as_deref(), Some(expected), "{target}");
    }
    assert_eq!(host(&["GET / HTTP/1.0"]), None);
}

#[test]
fn a_connection_is_used_again_unless_one_side_cannot() {
    let keeps = |version: &str, connection: &str| {
        let line = format!("GET / HTTP/{version}");
        read(&[&line, "Host: a", connection]).expect("it is good").keep_alive
    };
    for close in ["Connection: close", "connection: CLOSE", "Connection: a, close ,b"] {
        assert!(!keeps("1.1", close), "{close}");
    }
    for stays in ["Connection: keep-alive", "Connection: closed", "X: close", "Connection:"] {
        assert!(keeps("1.1", stays) && !keeps("1.0", stays), "{stays}");
    }
}

#[test]
fn of_expectations_there_is_one() {
    let expects = |head: Result<Head, u16>| head.map(|head| head.expects_continue);
    assert_eq!(expects(with("Expect: 100-Continue")), Ok(true));
    assert_eq!(expects(with("X: 100-continue")), Ok(false));
    assert_eq!(expects(with("Expect: something")), Err(417));
    let old = read(&["GET / HTTP/1.0", "Expect: 100-continue"]);
    assert_eq!(expects(old), Ok(false), "clients of that time do not wait");
}

#[test]
fn the_framing_of_a_body_is_told_in_one_way() {
    let framing = |lines: &[&str]| {
        let lines = [&["POST / HTTP/1.1", "Host: a"], lines].concat();
        read(&lines).map(|head| head.framing)
    };
    for (length, expected) in [
        ("0", Ok(Framing::Length(0))),
        ("050", Ok(Framing::Length(50))),
        ("51", Err(413)),
        ("99999999999999999999999999999999999999999", Err(413)),
        ("", Err(400)),
        ("+1", Err(400)),
        ("1a", Err(400)),
        ("1, 1", Err(400)),
    ] {
        assert_eq!(framing(&[&format!("Content-Length: {length}")]), expected, "{length:?}");
    }
    // Where the limit is all that the machine can count, what it cannot count is still too large.
    let all = Limits::default().body_bytes(usize::MAX);
    let head = |length: &str| {
        let lines = ["POST / HTTP/1.1", "Host: a", length, "", ""].join("\r\n");
        let head = parse(lines.as_bytes(), &all, None, Fate::Open);
        head.map(|head| head.framing).map_err(|refusal| refusal.status)
    };
    assert!(head(&format!("Content-Length: {}", usize::MAX)) == Ok(Framing::Length(usize::MAX)));
    assert_eq!(head(&format!("Content-Length: {}0", usize::MAX)).err(), Some(413));
    let (length, chunked) = ("Content-Length: 1", "Transfer-Encoding: Chunked");
    assert_eq!(framing(&[chunked]), Ok(Framing::Chunked));
    for both in [[length, length], [chunked, chunked], [length, chunked], [chunked, length]] {
        assert_eq!(framing(&both), Err(400), "{both:?}");
    }
    assert_eq!(framing(&["Transfer-Encoding: gzip"]), Err(400));
    let old = read(&["POST / HTTP/1.0", chunked]);
    assert_eq!(old.map(|head| head.framing), Err(400), "it knows no chunks");
}
