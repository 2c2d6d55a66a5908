//! The listener itself, before it is relied on: a check that notices nothing proves nothing.

use super::{
    latency::{Heard, Latencies, now},
    listener::{Listener, compose},
};
use crate::crowd::{Ear, Tally};

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n";
const BYTES: usize = 64;

/// Panics unless the listener understands good streams in pieces of any size, and notices what is
/// wrong with others.
pub(crate) fn notices_what_is_wrong() {
    understands_any_form();
    counts_what_is_lost_repeated_and_late();
    refuses_what_nobody_sent();
    knows_its_channels();
    sums_up();
}

fn event(number: u32) -> String {
    let mut data = Vec::new();
    compose(&mut data, 0, number, now(), BYTES);
    String::from_utf8_lossy(&data).into_owned()
}

/// What a client has in the end, or what was wrong; the response comes in pieces of this size.
fn hear(response: &str, piece: usize) -> Result<(Tally, Latencies), String> {
    let mut tally = Tally::new();
    let mut latencies = Latencies::default();
    let mut listener = Listener::new();
    let wanted = Listener::wanted("/event?event=t0&event=t7");
    for bytes in response.as_bytes().chunks(piece) {
        listener.hear(bytes, &wanted, &mut tally, Some(&mut latencies))?;
    }
    Ok((tally, latencies))
}

fn understands_any_form() {
    let plain = (0..30)
        .map(|number| format!("event: t0\ndata: {}\nid: a-{number}\n\n", event(number)))
        .collect::<Vec<_>>()
        .concat();
    let other = (0..30)
        .map(|number| format!("id:{number}\r\ndata:{}\r\nevent:t0\r\n\r\n", event(number)))
        .collect::<Vec<_>>()
        .concat();
    let chunked = |text: &str| -> String {
        let chunks = text.as_bytes().chunks(50);
        let chunks = chunks.map(|chunk| {
            format!("{:x};a=b\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk))
        });
        format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n", chunks.collect::<String>())
    };
    for response in [
        format!("{HEAD}\r\n: hello\nretry: 3000\n\n{plain}"),
        format!("{HEAD}\r\n{other}"),
        chunked(&plain),
        chunked(&other),
    ] {
        for piece in 1..=response.len() {
            let (tally, latencies) = hear(&response, piece).expect("a stream in good order");
            let seen = (tally.status, tally.events, tally.repeated, tally.late, tally.bytes);
            let bytes = u32::try_from(BYTES).expect("small");
            assert_eq!(seen, (200, 30, 0, 0, (bytes, bytes)), "pieces of {piece}: {response}");
            let heard = latencies.heard();
            assert_eq!(heard.deliveries, 30);
            assert!(heard.each[2] < 60_000_000_000 && heard.end <= now(), "{heard:?}");
        }
    }
}

fn counts_what_is_lost_repeated_and_late() {
    for (numbers, expected) in [
        (&[0, 1, 2][..], (3, 0, 0)),
        // The leader knows how many there should be.
        (&[0, 2], (2, 0, 0)),
        (&[0, 1, 1, 2, 0], (3, 2, 0)),
        (&[0, 5, 2, 3, 6], (5, 0, 2)),
        (&[0, 3, 1, 1, 2], (4, 1, 2)),
    ] {
        let events: Vec<String> =
            numbers.iter().map(|number| format!("data: {}\n\n", event(*number))).collect();
        let events = events.concat();
        let (tally, _) = hear(&format!("{HEAD}\r\n{events}"), 7).expect("a stream");
        assert_eq!((tally.events, tally.repeated, tally.late), expected, "of {numbers:?}");
    }
}

fn refuses_what_nobody_sent() {
    let other_type = event(0).replacen('0', "3", 1);
    for body in [
        "data: hello\n\n".to_owned(),
        "data: 0-\n\n".to_owned(),
        format!("data: {other_type}\n\n"),
        format!("dat: {}\n\n", event(0)),
        format!("data: {}\n{}\n\n", event(0), event(1)),
    ] {
        assert!(hear(&format!("{HEAD}\r\n{body}"), 9).is_err(), "{body:?} should be refused");
    }
    for body in ["x\r\n", "3\r\n:\n\nx\r\n"] {
        let response = format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n{body}");
        assert!(hear(&response, 9).is_err(), "{body:?} should be refused");
    }
    let (refused, _) = hear("HTTP/1.1 503 Busy\r\nContent-Length: 1\r\n\r\nx", 3).expect("a head");
    assert_eq!((refused.status, refused.events), (503, 0));
}

fn knows_its_channels() {
    for (target, wanted) in [
        ("/event?event=t0&event=t7", &[0, 7][..]),
        ("/event?event=t0&channel=c12&channel=", &[12, 0]),
        ("/event?event=t3&last_event_id=a-3", &[3]),
    ] {
        assert_eq!(Listener::wanted(target), wanted, "{target}");
    }
}

fn sums_up() {
    let mut latencies = Latencies::default();
    for (number, now) in [(0, 1500), (0, 4000), (1, 2100)] {
        let published = 1000 * u64::from(number + 1);
        latencies.add(0, number, now, || Ok(published)).expect("a time");
    }
    let heard = latencies.heard();
    assert_eq!((heard.deliveries, heard.end), (3, 4000));
    // Exact to 1 %.
    let shown = heard.each.into_iter().chain(heard.last);
    for (shown, exact) in shown.zip([500, 3000, 3000, 100, 3000, 3000]) {
        assert!((exact..=exact + exact / 100).contains(&shown), "{heard:?}");
    }
    assert_eq!(latencies.to_string().parse::<Heard>().expect("a line of figures"), heard);
}
