//! Unit tests of request bodies.

use super::*;

fn decode(wire: &[u8], piece: usize) -> Result<(Vec<u8>, usize), u16> {
    decode_as(Framing::Chunked, wire, piece)
}

/// What a body is decoded to, and how much of `wire` it was; 0 where that is not all of it.
fn decode_as(framing: Framing, wire: &[u8], piece: usize) -> Result<(Vec<u8>, usize), u16> {
    let limits = Limits::default();
    let mut decoder = Decoder::new(framing);
    let (mut body, mut start, mut end) = (Vec::new(), 0, 0);
    while !decoder.is_done() && end < wire.len() {
        end = (end + piece).min(wire.len());
        let read = decoder.decode(&wire[start..end], &mut body, &limits);
        start += read.map_err(|refusal| refusal.status)?;
    }
    if decoder.is_done() { Ok((body, start)) } else { Err(0) }
}

#[test]
fn chunks_decode_alike_in_pieces_of_every_size() {
    let wire = b"5;name=value\r\nhello\r\n1 \r\n,\r\n00A\r\n0123456789\r\n0\r\nA: b\r\n\r\nGET";
    for piece in 1..=wire.len() {
        let read = decode(wire, piece);
        assert_eq!(read, Ok((b"hello,0123456789".to_vec(), wire.len() - 3)), "by {piece}");
    }
}

#[test]
fn what_is_not_a_chunk_is_refused() {
    let long_line = [b"1;".as_slice(), &[b'x'; CHUNK_LINE_BYTES], b"\r\n"].concat();
    for (wire, status) in [
        (b"x\r\n".as_slice(), 400),
        (b"3\r\r\nabc\r\n", 400),
        (b"3\x0c\r\nabc\r\n", 400),
        (b"3;\0\r\nabc\r\n", 400),
        (b"0\r\nGET /admin HTTP/1.1\r\n\r\n", 400),
        (b"0\r\n folded\r\n\r\n", 400),
        (b"0\r\nabc\r\n\r\n", 400),
        (b"0\r\nA B: c\r\n\r\n", 400),
        (b"0\r\n: b\r\n\r\n", 400),
        (b"0\r\nA: b\rX: y\r\n\r\n", 400),
        (b"\r\n", 400),
        (b"+1\r\na\r\n", 400),
        (b"0x1\r\na\r\n", 400),
        (b"1\na\r\n", 400),
        (b"1\r\nab\r\n", 400),
        (b"1\r\na\n", 400),
        (b"000000001\r\na\r\n", 400),
        (b"ffffffff\r\n", 413),
        (b"100001\r\n", 413),
        (&long_line, 400),
        (&[b"1\r\na\r\n0\r\n".as_slice(), &b"A: bbbbbbbbb\r\n".repeat(2000)].concat(), 400),
    ] {
        let shown = String::from_utf8_lossy(&wire[..wire.len().min(20)]);
        assert_eq!(decode(wire, wire.len()), Err(status), "{shown:?}");
    }
}

#[test]
fn a_body_of_a_known_length_is_what_comes_and_no_more() {
    for (length, piece) in [(0, 1), (1, 1), (5, 1), (5, 2), (5, 5), (5, 7), (7, 7)] {
        let body = decode_as(Framing::Length(length), b"1234567", piece);
        assert_eq!(body, Ok((b"1234567"[..length].to_vec(), length)), "{length} by {piece}");
    }
    assert_eq!(decode_as(Framing::Length(8), b"1234567", 3), Err(0), "it is not complete");
}

#[test]
fn a_chunked_body_may_be_as_large_as_its_limits_and_no_larger() {
    // The data.
    let limit = Limits::default().body_bytes;
    let body = |first: usize, second: usize| {
        let chunk = |size: usize| format!("{size:08x}\r\n{}\r\n", "x".repeat(size));
        let wire = chunk(first) + &chunk(second) + "0\r\n\r\n";
        decode(wire.as_bytes(), wire.len()).map(|(body, _)| body.len())
    };
    assert_eq!(body(limit - 10, 10), Ok(limit));
    assert_eq!(body(limit - 10, 11), Err(413));
    // A line.
    for (length, expected) in [(CHUNK_LINE_BYTES, Ok(1)), (CHUNK_LINE_BYTES + 1, Err(400))] {
        let line = format!("1;{}\r\n", "\t".repeat(length - 4));
        let wire = line + "x\r\n0\r\n\r\n";
        for piece in [1, 7, wire.len()] {
            let body = decode(wire.as_bytes(), piece).map(|(body, _)| body.len());
            assert_eq!(body, expected, "a line of {length} by {piece}");
        }
    }
    // What is beside the data.
    for data in [1, 1000] {
        let begin = format!("{data:x}\r\n{}\r\n0\r\n", "x".repeat(data));
        let most = 16 * 1024 + 8 * data;
        let trailer = most - (begin.len() - data) - 2;
        let lines = "A: 4567\r\n".repeat(trailer / 9 - 1);
        let last = "x".repeat(trailer - lines.len() - 4);
        for (more, expected) in [("", Ok(data)), ("x", Err(400))] {
            let wire = format!("{begin}{lines}A:{last}{more}\r\n\r\n");
            let body = decode(wire.as_bytes(), wire.len()).map(|(body, _)| body.len());
            assert_eq!(body, expected, "{data} bytes of data");
        }
    }
}

#[test]
fn a_budget_is_free_again_when_its_shares_are() {
    let budget = Budget::new(10);
    let mut one = budget.share();
    assert!(one.grow(6).is_ok() && one.grow(4).is_ok());
    assert!(budget.share().grow(5).is_err());
    let mut other = budget.share();
    assert!(other.grow(4).is_ok() && one.grow(7).is_err(), "all is used");
    drop(other);
    assert!(one.grow(10).is_ok() && budget.share().grow(1).is_err());
    drop(one);
    assert!(budget.share().grow(11).is_err());
    assert!(budget.share().grow(10).is_ok());
}

#[test]
fn sizes_may_be_all_that_the_machine_can_count() {
    let budget = Budget::new(usize::MAX);
    let mut one = budget.share();
    assert!(one.grow(usize::MAX).is_ok());
    assert!(budget.share().grow(1).is_err());
    assert_eq!(overhead_of(usize::MAX), usize::MAX);
    assert_eq!(overhead_of(2), OVERHEAD_BYTES + 2 * OVERHEAD_FACTOR);
}
