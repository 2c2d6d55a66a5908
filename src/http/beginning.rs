//! Checks how a request begins. Another protocol is refused at its first wrong byte, since there is
//! nothing to wait for.

use super::{
    limits::Limits,
    request::{bare_line_feed, longest_line, malformed},
    response::{Refusal, is_token_byte},
    target,
};

/// Refuses bytes that cannot become a request: they do not begin with a method, or no target
/// follows it. [`parse`](super::request::parse) would refuse all of them too. The answer depends on
/// no byte after the first wrong one, so it is the same however the bytes were split. `empty_lines`
/// is the number of empty lines before them.
pub(super) fn refuse(bytes: &[u8], empty_lines: usize, limits: &Limits) -> Option<Refusal> {
    // A longer line is refused for its length.
    let line = &bytes[..bytes.len().min(longest_line(limits).saturating_add(1))];
    let method = line.iter().take_while(|byte| is_token_byte(**byte)).count();
    let refusal = match line.split_at(method) {
        (b"PRI", [b' ', b'*', ..]) => {
            Refusal::new(505, "this looks like HTTP/2; use HTTP/1.1 or HTTP/1.0")
        }
        // More bytes must come. This is also true after a CR, since an empty line may precede a
        // request. A target begins with a slash, with `*`, or with the scheme of a URL.
        (_, []) | ([], [b'\r']) | ([_, ..], [b' '] | [b' ', b'/' | b'*' | b'h' | b'H', ..]) => {
            return None;
        }
        ([], [0x16, ..]) => {
            Refusal::new(400, "this looks like TLS; this port speaks plain HTTP, use http://")
        }
        // Its signature begins with two empty lines.
        ([], [0, ..]) if empty_lines == 2 => proxy_protocol(2),
        ([], [b'\n', ..]) => bare_line_feed(),
        // TCP4, TCP6 or UNKNOWN.
        (b"PROXY", [b' ', b'T' | b'U', ..]) => proxy_protocol(1),
        ([_, ..], [b' ', b'!'..=b'~', ..]) => target::malformed(),
        _ => malformed(),
    };
    Some(refusal)
}

fn proxy_protocol(version: u8) -> Refusal {
    Refusal::new(400, format!("this looks like the PROXY protocol (version {version})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_wrong_byte_decides_whatever_follows() {
        let limits = Limits::default();
        for (bytes, empty_lines, shown, reason) in [
            (&b"\x16\x03\x01\x02"[..], 0, 1, "looks like TLS"),
            (b"\0\r\nQUIT\n", 2, 1, "the PROXY protocol (version 2)"),
            (b"\0\r\nQUIT\n", 1, 1, "malformed request"),
            (b"PROXY TCP4 192.0.2.1 ", 0, 7, "the PROXY protocol (version 1)"),
            (b"PROXY UNKNOWN\r\n", 0, 7, "the PROXY protocol (version 1)"),
            (b"PROXY x", 0, 7, "the request target is"),
            (b"PRI * HTTP/2.0\r\n\r\n", 0, 5, "looks like HTTP/2"),
            (b"PRIX 1 HTTP/2.0", 0, 6, "the request target is"),
            (b"\rGET / HTTP/1.1", 0, 2, "malformed request"),
            (b"\nGET / HTTP/1.1", 0, 1, "CR and LF"),
            (b" GET / HTTP/1.1", 0, 1, "malformed request"),
            (b"GET\t/", 0, 4, "malformed request"),
            (b"GET\r\n", 0, 4, "malformed request"),
            (b"GET  /", 0, 5, "malformed request"),
            (b"GET \xe9", 0, 5, "malformed request"),
            (b"GET ?x", 0, 5, "the request target is"),
        ] {
            for length in 0..=bytes.len() {
                let refusal = refuse(&bytes[..length], empty_lines, &limits);
                let name = bytes[..length].escape_ascii();
                assert_eq!(refusal.is_some(), length >= shown, "{name}: {refusal:?}");
                assert!(refusal.is_none_or(|is| is.reason.contains(reason)), "{name}: {reason}");
            }
        }
        for good in
            ["", "\r", "G", "GET ", "P", "PROXY ", "PROXY /", "PRI /", "OPTIONS *", "GET http:"]
        {
            assert_eq!(refuse(good.as_bytes(), 2, &limits), None, "{good}");
        }
    }

    #[test]
    fn a_byte_behind_the_longest_line_is_not_looked_at() {
        let limits = Limits::default().target_bytes(100);
        let line = |length| [&b"x".repeat(length)[..], b"\0"].concat();
        assert!(refuse(&line(longest_line(&limits)), 0, &limits).is_some());
        assert_eq!(refuse(&line(longest_line(&limits) + 1), 0, &limits), None);
        assert_eq!(refuse(b"\0", 0, &limits.target_bytes(usize::MAX)), Some(malformed()));
    }
}
