//! Messages as JSON objects, one a line.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::message::{EventId, Message};

/// Reads the messages of a body; the error names the line. Blank lines are passed over.
pub(super) fn read(body: &[u8]) -> Result<Vec<Message>, String> {
    let lines = (1..).zip(body.split(|&byte| byte == b'\n'));
    let lines = lines.filter(|(_, line)| !line.trim_ascii().is_empty());
    lines.map(|(at, line)| read_line(line).map_err(|why| format!("line {at}: {why}"))).collect()
}

fn read_line(line: &[u8]) -> Result<Message, String> {
    let object: Map<String, Value> = serde_json::from_slice(line).map_err(|error| {
        format!("not a JSON object such as {{\"event\":\"news\",\"data\":\"hello\"}}: {error}")
    })?;
    let mut message = Message::new("");
    for (name, value) in object {
        message = match (&*name, value) {
            // As if it were not there.
            (_, Value::Null) => message,
            ("data", Value::String(text)) => message.data_of(text),
            ("data", value) => message.data_of(value.to_string()),
            ("event", Value::String(event)) => message.event(event),
            ("id", Value::String(id)) if id.is_empty() => message,
            ("id", Value::String(id)) => {
                message.id(EventId::new(id).map_err(|error| error.to_string())?)
            }
            ("retry", Value::Number(millis)) if millis.is_u64() => {
                message.retry(Duration::from_millis(millis.as_u64().unwrap_or_default()))
            }
            ("event" | "id", _) => return Err(format!("{name} is not a string")),
            ("retry", _) => return Err("retry is not a whole number of milliseconds".to_owned()),
            _ => return Err(format!("unknown field {name:?}; use event, data, id, retry")),
        };
    }
    message.check().map_err(|error| error.to_string())?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_message() {
        let read = |text: &str| read(text.as_bytes());
        let full = concat!(
            "{\"event\":\"a\",\"data\":\"two\\nlines\",\"id\":\"x-1\",\"retry\":50}\r\n",
            "\n  \n",
            "{\"data\":{\"n\": [1, null]},\"id\":\"\",\"event\":null}\n{}",
        );
        let id = EventId::new("x-1").expect("the id is good");
        let first = Message::new("two\nlines").event("a").id(id).retry(Duration::from_millis(50));
        let expected = vec![first, Message::new("{\"n\":[1,null]}"), Message::new("")];
        assert_eq!(read(full), Ok(expected));
        assert_eq!(read(""), Ok(Vec::new()));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (line, why) in [
            ("[]", "not a JSON object"),
            ("\"text\"", "not a JSON object"),
            ("{\"data\":1", "not a JSON object"),
            ("{} {}", "not a JSON object"),
            ("{\"event\":1}", "event is not a string"),
            ("{\"event\":\"a\\nb\"}", "one line"),
            ("{\"id\":7}", "id is not a string"),
            ("{\"id\":\"a\\u0000\"}", "no control characters"),
            ("{\"retry\":\"5\"}", "whole number"),
            ("{\"retry\":-5}", "whole number"),
            ("{\"retry\":1.5}", "whole number"),
            ("{\"Data\":\"x\"}", "unknown field \"Data\""),
            ("{\"data\":\"\\ud800\"}", "not a JSON object"),
        ] {
            let error = read(format!("{{}}\n{line}\n").as_bytes()).expect_err(line);
            assert!(error.starts_with("line 2: ") && error.contains(why), "{line}: {error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
        assert!(read(b"{\"data\":\"\xff\"}").is_err());
    }
}
