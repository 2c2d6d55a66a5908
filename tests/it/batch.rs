//! Many messages at once, by the program and over HTTP.

use std::time::Duration;

use websse::{Message, PublishError};

#[cfg(feature = "json")]
use support::eventually;
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
    assert_eq!(hub.server.publish_all(&[]).unwrap_err().error, PublishError::ShutDown);
    let error = websse::Server::new().publish_all(&[]).unwrap_err();
    assert_eq!(error.error, PublishError::NotRunning);
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
        assert_eq!(answer.status, 200);
        assert_eq!(answer.field("content-type"), Some("application/json"));
        let (first, second) = (client.event(), client.event());
        // Without a history an event has no other id than its publisher's.
        assert_eq!(answer.text(), "{\"accepted\":2,\"ids\":[\"x\",null]}\n");
        assert_eq!(
            (first.event.as_deref(), first.data.as_deref()),
            (Some("a"), Some("two\nlines"))
        );
        assert_eq!(first.id.as_deref(), Some("x"));
        assert_eq!((second.event, second.data.as_deref()), (None, Some("{\"n\":1}")));
    }
    let kind = "application/x-ndjson";
    for (query, body, status, why) in [
        ("", "{\"data\":\"1\"}\nno", 422, "line 2: not a JSON object"),
        ("", "{\"data\":\"1\"}\n{\"event\":\"unknown\"}", 422, "message 2 of the batch"),
        ("", "{\"data\":\"1\"}\n{\"id\":\"\u{e9}\"}", 422, "line 2: an id is printable ASCII"),
        ("", "{\"retry\":2147483648}", 422, "line 1: retry is at most 2147483647"),
        ("", "{\"data\":\"a\\u0000b\"}", 422, "line 1: data has no NUL"),
        ("?event=a", "{}", 400, "in the query"),
    ] {
        let answer = send(&hub, query, kind, body);
        assert_eq!(answer.status, status, "{body}");
        answer.assert_explained();
        assert!(answer.text().contains(why), "{answer:?}");
    }
    let huge = format!("{{\"data\":1}}\n{{\"data\":\"{}\"}}", "\\n".repeat(400_000));
    assert_eq!(send(&hub, "", kind, &huge).status, 413);
    for body in ["", "\n \r\n", "{\"data\":\"1\"}\n{}", "{\"id\":null}"] {
        let answer = send(&hub, "", kind, body);
        assert_eq!(answer.status, 400, "{body}");
        answer.assert_explained();
        assert!(answer.text().contains("there is nothing to publish"), "{answer:?}");
    }
    // Of all these nothing was published.
    hub.publish(Message::json(&serde_json::json!({ "last": [true] })).unwrap());
    assert_eq!(client.event().data.as_deref(), Some("{\"last\":[true]}"));
}

/// A proxy, a log or another server might take the one or the other.
#[cfg(feature = "json")]
#[test]
fn a_line_is_refused_for_its_fields_as_a_form_is() {
    let hub = Hub::plain(&["", "a", "probe"]);
    let mut client = hub.listen("?event=*");
    let (lines, form) = ("application/x-ndjson", "application/x-www-form-urlencoded");
    for (line, pairs, why) in [
        (r#"{"data":"x","data":"y"}"#, "data=x&data=y", "data is given more than once"),
        (r#"{"data":"x","data":"x"}"#, "data=x&data=x", "data is given more than once"),
        (r#"{"data":null,"data":"y"}"#, "data=&data=y", "data is given more than once"),
        (r#"{"data":"x","d\u0061ta":null}"#, "data=x&d%61ta=", "data is given more than once"),
        (
            r#"{"event":"a","data":1,"event":"a"}"#,
            "event=a&event=a",
            "event is given more than once",
        ),
        (r#"{"id":"","id":"7"}"#, "id=&id=7", "id is given more than once"),
        (r#"{"retry":1,"retry":1}"#, "retry=1&retry=1", "retry is given more than once"),
        (r#"{"Data":"x"}"#, "Data=x", "\"Data\"; use event, data, id, retry"),
        (r#"{"event":"a","comment":null}"#, "event=a&comment=", "\"comment\"; use event"),
        (r#"{"x":1,"x":2}"#, "x=1&x=2", "\"x\"; use event"),
    ] {
        let answer = send(&hub, "", form, pairs);
        assert!(answer.status == 400 && answer.text().contains(why), "{pairs}: {answer:?}");
        for (at, body) in [(1, line.to_owned()), (3, format!("{{\"data\":\"1\"}}\n\n{line}\n{{}}"))]
        {
            let answer = send(&hub, "", lines, &body);
            assert_eq!(answer.status, 422, "{body}");
            answer.assert_explained();
            let text = answer.text();
            assert!(text.starts_with(&format!("line {at}: ")) && text.contains(why), "{text}");
        }
    }
    // Of all these nothing was published. Within the data a name may come twice.
    let body = r#"{"data":{"a":1,"a":2}}"#;
    assert_eq!(send(&hub, "", lines, body).status, 200);
    assert_eq!(client.event().data.as_deref(), Some(r#"{"a":1,"a":2}"#));
}

/// A shutdown falls into a batch nearly each time that it is tried.
#[cfg(feature = "json")]
#[test]
fn a_batch_that_a_shutdown_cuts_is_not_to_be_sent_again() {
    const LINES: u64 = 10_000;
    let attempt = || {
        let hub = Hub::with(&["a"], |b| b.history_events(0).publish_queue(1), |http| http);
        let lines = "{\"event\":\"a\"}\n".repeat(10_000);
        let answer = std::thread::scope(|scope| {
            let sent = scope.spawn(|| send(&hub, "", "application/x-ndjson", &lines));
            eventually(Duration::from_secs(5), true, || hub.server.stats().published > 0);
            let report = hub.server.shutdown(Duration::from_secs(5));
            assert_eq!(report.undelivered, 0);
            sent.join().unwrap()
        });
        let published = hub.server.stats().published;
        let expected = if published == LINES { (200, None) } else { (504, None) };
        assert_eq!((answer.status, answer.field("retry-after")), expected, "{answer:?}");
        if published == LINES {
            return false;
        }
        answer.assert_explained();
        let (text, next) = (answer.text(), published + 1);
        assert!(text.contains(&format!("{published} were accepted")), "{published}: {text}");
        assert!(text.contains(&format!("from message {next} on")), "{published}: {text}");
        true
    };
    assert!((0..20).any(|_| attempt()), "each batch was faster than the shutdown");
}

#[cfg(feature = "json")]
#[test]
fn a_body_of_json_is_a_message() {
    let hub = Hub::plain(&["", "a", "probe"]);
    let mut client = hub.listen("?event=*");
    for (kind, body, event, data) in [
        ("application/json", "{\"event\":\"a\",\"data\":\"two\\nlines\"}", Some("a"), "two\nlines"),
        ("Application/JSON; charset=utf-8", "\n{\"data\":\n {\"n\": 1}}\n", None, "{\"n\": 1}"),
        ("application/json", "{\"data\":\"\"}", None, ""),
    ] {
        let answer = send(&hub, "", kind, body);
        assert_eq!(answer.status, 200, "{answer:?}");
        let got = client.event();
        assert_eq!((got.event.as_deref(), got.data.as_deref()), (event, Some(data)));
    }
    for (query, body, status, why) in [
        ("", "", 400, "there is nothing to publish"),
        ("", "{}", 400, "there is nothing to publish"),
        ("", "{\"data\":null}", 400, "there is nothing to publish"),
        ("", "no", 422, "not a JSON object"),
        ("", "[{\"data\":1}]", 422, "not a JSON object"),
        ("", "{\"data\":1}{\"data\":2}", 422, "not a JSON object"),
        ("", "{\"text\":1}", 422, "\"text\"; use event, data"),
        ("", "{\"event\":\"unknown\"}", 422, "\"unknown\" is not registered"),
        ("", "{\"id\":\"\u{e9}\"}", 422, "an id is printable ASCII"),
        ("?event=a", "{\"data\":1}", 400, "\"event\" in the query"),
    ] {
        let answer = send(&hub, query, "application/json", body);
        assert_eq!(answer.status, status, "{body}");
        answer.assert_explained();
        assert!(answer.text().contains(why), "{answer:?}");
    }
    hub.publish(Message::new("nothing else was published"));
    assert_eq!(client.event().data.as_deref(), Some("nothing else was published"));
}

#[test]
fn a_post_without_anything_is_refused() {
    let hub = Hub::plain(&["", "probe"]);
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/json"] {
        let answer = send(&hub, "", kind, "");
        assert_eq!(answer.status, 400, "{kind}");
        answer.assert_explained();
    }
    for (query, form) in [("", "&"), ("?&&", "")] {
        let answer = send(&hub, query, "application/x-www-form-urlencoded", form);
        assert_eq!(answer.status, 400, "{query} {form}");
    }
    assert_eq!(send(&hub, "?data=", "text/plain", "").status, 200, "as it was meant");
}

#[cfg(not(feature = "json"))]
#[test]
fn without_the_feature_json_is_refused_with_the_reason() {
    let hub = Hub::plain(&["", "probe"]);
    for kind in ["application/x-ndjson", "application/json"] {
        let answer = send(&hub, "", kind, "{}");
        assert_eq!(answer.status, 415);
        answer.assert_explained();
    }
}
