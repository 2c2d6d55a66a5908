//! Many messages at once, by the program and over HTTP.

use std::time::Duration;

use websse::{Message, PublishError};

use support::{Answer, Hub};

fn numbered(numbers: std::ops::Range<usize>) -> Vec<Message> {
    numbers.map(|number| Message::new(number.to_string()).event("a")).collect()
}

#[test]
fn a_batch_is_accepted_whole_or_not_at_all() {
    let hub = Hub::plain(&["a", "probe"]);
    let mut client = hub.listen("?event=a");
    // More than the queue holds.
    hub.server.publish_all(&numbered(0..3000)).unwrap();
    let mut bad = numbered(3000..3010);
    bad[7] = Message::new("7").event("unknown");
    let error = hub.server.publish_all(&bad).unwrap_err();
    assert_eq!((error.index, error.accepted), (7, 0));
    assert_eq!(error.error, PublishError::EventNotRegistered("unknown".to_owned()));
    assert!(error.to_string().starts_with("message 8 of the batch: "), "{error}");
    hub.server.publish_all(&[]).unwrap();
    hub.server.publish_all(&numbered(3000..3001)).unwrap();
    for number in 0..=3000 {
        assert_eq!(client.event().data, Some(number.to_string()));
    }
    hub.server.shutdown(Duration::from_secs(5));
    let error = hub.server.publish_all(&numbered(0..2)).unwrap_err();
    assert_eq!((error.index, error.accepted, error.error), (0, 0, PublishError::ShutDown));
}

fn send(hub: &Hub, query: &str, kind: &str, body: &str) -> Answer {
    hub.ask(format!(
        "POST /send{query} HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ))
    .answer()
}

#[cfg(feature = "json")]
#[test]
fn json_lines_are_accepted_all_or_none_and_counted() {
    let hub = Hub::plain(&["", "a", "probe"]);
    let mut client = hub.listen("?event=*");
    let lines = "{\"event\":\"a\",\"data\":\"two\\nlines\",\"id\":\"x\"}\n\n{\"data\":{\"n\":1}}";
    for kind in ["application/x-ndjson", "Application/JSONL; charset=utf-8"] {
        let answer = send(&hub, "", kind, lines);
        assert_eq!((answer.status, answer.text().as_str()), (200, "{\"accepted\":2}\n"));
        assert_eq!(answer.field("content-type"), Some("application/json"));
        let (first, second) = (client.event(), client.event());
        assert_eq!(
            (first.event.as_deref(), first.data.as_deref()),
            (Some("a"), Some("two\nlines"))
        );
        assert_eq!(first.id.as_deref(), Some("x"));
        assert_eq!((second.event, second.data.as_deref()), (None, Some("{\"n\":1}")));
    }
    let kind = "application/x-ndjson";
    for (query, body, status, why) in [
        ("", "{\"data\":\"1\"}\nno", 400, "line 2: not a JSON object"),
        ("", "{\"data\":\"1\"}\n{\"event\":\"unknown\"}", 422, "message 2 of the batch"),
        ("?event=a", "{}", 400, "in the query"),
    ] {
        let answer = send(&hub, query, kind, body);
        assert_eq!(answer.status, status, "{body}");
        answer.assert_explained();
        assert!(answer.text().contains(why), "{answer:?}");
    }
    let huge = format!("{{}}\n{{\"data\":\"{}\"}}", "\\n".repeat(400_000));
    assert_eq!(send(&hub, "", kind, &huge).status, 413);
    let answer = send(&hub, "", kind, "");
    assert_eq!((answer.status, answer.text().as_str()), (200, "{\"accepted\":0}\n"));
    // Of all these nothing was published.
    hub.publish(Message::json(&serde_json::json!({ "last": [true] })).unwrap());
    assert_eq!(client.event().data.as_deref(), Some("{\"last\":[true]}"));
}

#[cfg(not(feature = "json"))]
#[test]
fn without_the_feature_json_lines_are_refused_with_the_reason() {
    let hub = Hub::plain(&["", "probe"]);
    let answer = send(&hub, "", "application/x-ndjson", "{}");
    assert_eq!(answer.status, 415);
    answer.assert_explained();
}
