//! Messages from JSON and to it (feature `json`).

use std::{borrow::Cow, error::Error, fmt};

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::{RawValue, Value};

use crate::{
    message::{
        Message,
        fields::{FieldError, Fields},
    },
    quoted::Quoted,
};

impl Message {
    /// A message of the general type whose data is `value` as JSON, on one line. Needs the feature
    /// `json`.
    ///
    /// # Errors
    /// If the value cannot be written as JSON, for example a map whose keys are not strings.
    ///
    /// ```
    /// use websse::Message;
    ///
    /// let message = Message::json(&vec![1, 2])?.event("numbers");
    /// assert_eq!(message.data(), "[1,2]");
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn json(value: &(impl serde::Serialize + ?Sized)) -> Result<Self, serde_json::Error> {
        serde_json::to_string(value).map(Self::new)
    }

    /// Reads a message from a JSON object with `event`, `data`, `id`, `retry` (milliseconds) and
    /// `channel`, each at most once, and nothing else. Data that is not a string stays JSON, on one
    /// line. Needs the feature `json`.
    ///
    /// # Errors
    /// [`JsonError`] says what is wrong, in one line.
    ///
    /// ```
    /// use websse::Message;
    ///
    /// let message = Message::from_json(br#"{"event": "news", "data": {"price": 3}}"#)?;
    /// assert_eq!((message.event_type(), message.data()), ("news", "{\"price\": 3}"));
    /// # Ok::<(), websse::JsonError>(())
    /// ```
    pub fn from_json(text: &[u8]) -> Result<Self, JsonError> {
        Ok(Self::some_from_json(text)?.unwrap_or_else(|| Self::new("")))
    }

    /// As [`from_json`](Self::from_json); `None` for an object with no field of a message.
    pub(crate) fn some_from_json(text: &[u8]) -> Result<Option<Self>, JsonError> {
        read(text)
    }
}

/// [`Message::from_json`] cannot read the text as a message.
///
/// ```
/// let error = websse::Message::from_json(b"[1]").unwrap_err();
/// println!("{error}");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonError(String);

impl From<String> for JsonError {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for JsonError {}

/// The names of a message's fields.
const FIELDS: [&str; 5] = ["event", "data", "id", "retry", "channel"];

/// The fields of an object as text, or what is wrong with their names. A tree of values would take
/// many times the memory of the text.
struct Raw<'t>(Result<[Option<&'t str>; FIELDS.len()], String>);

impl<'de> Deserialize<'de> for Raw<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OfObject)
    }
}

/// As [`from_json`](Message::from_json), but from any format and as a part of something else:
/// `retry` is a number, and data that is not a string is written anew as JSON. So the order of the
/// names in it may change, and while it is read it takes many times the memory of its text. Needs
/// the feature `json`.
///
/// ```
/// # use websse::Message;
/// let both: Vec<Message> = serde_json::from_str(r#"[{"data": "hello"}, {"data": [1, 2]}]"#)?;
/// assert_eq!((both[0].data(), both[1].data()), ("hello", "[1,2]"));
/// # Ok::<(), serde_json::Error>(())
/// ```
impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OfMap)
    }
}

struct OfMap;

impl<'de> Visitor<'de> for OfMap {
    type Value = Message;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message, which is an object with event, data, id, retry, channel")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Message, A::Error> {
        use serde::de::Error;
        let mut fields = Fields::default();
        while let Some(name) = map.next_key::<Cow<'_, str>>()? {
            if !FIELDS.contains(&&*name) {
                return Err(A::Error::custom(unknown(&name)));
            }
            let text = match &*name {
                "data" => match map.next_value()? {
                    Value::Null => None,
                    Value::String(text) => Some(text),
                    other => Some(other.to_string()),
                },
                "retry" => map.next_value::<Option<u64>>()?.map(|millis| millis.to_string()),
                _ => map.next_value::<Option<String>>()?,
            };
            // Given twice it is an error, also without a value.
            let set = fields.set(&name, text.unwrap_or_default().into());
            set.map_err(|_| A::Error::custom(format!("{name} is given more than once")))?;
        }
        fields.retry = fields.retry.filter(|retry| !retry.is_empty());
        let message = fields.into_message().map_err(|error| match error {
            FieldError::Id(error) => A::Error::custom(error),
            _ => A::Error::custom("retry is not a whole number of milliseconds"),
        })?;
        message.check().map_err(A::Error::custom)?;
        Ok(message)
    }
}

fn unknown(name: &str) -> String {
    format!("unknown field {}; use event, data, id, retry, channel", Quoted(name))
}

struct OfObject;

impl<'de> Visitor<'de> for OfObject {
    type Value = Raw<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut fields = [None; FIELDS.len()];
        while let Some(name) = object.next_key::<String>()? {
            let wrong = if let Some(at) = FIELDS.iter().position(|known| *known == name) {
                let value = object.next_value::<&RawValue>()?;
                // Two readers could choose different ones of the two.
                let before = fields[at].replace(value.get());
                before.map(|_| format!("{name} is given more than once"))
            } else {
                object.next_value::<IgnoredAny>()?;
                Some(unknown(&name))
            };
            if let Some(wrong) = wrong {
                // Invalid JSON is reported first, wherever it is in the text.
                while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                return Ok(Raw(Err(wrong)));
            }
        }
        Ok(Raw(Ok(fields)))
    }
}

fn read(text: &[u8]) -> Result<Option<Message>, JsonError> {
    let Raw(fields) = serde_json::from_slice(text).map_err(|error| {
        format!("not a JSON object such as {{\"event\":\"news\",\"data\":\"hello\"}}: {error}")
    })?;
    let mut message = Fields::default();
    for (name, value) in FIELDS.into_iter().zip(fields?) {
        // `null` counts as a missing field.
        let Some(value) = value.filter(|value| *value != "null") else { continue };
        let text = || serde_json::from_str::<String>(value).map(Cow::Owned);
        match name {
            "data" => {
                message.data = Some(match text() {
                    Ok(text) => text,
                    // An invalid string: half a surrogate pair.
                    Err(error) if value.starts_with('"') => {
                        return Err(format!("data: {error}").into());
                    }
                    // Line breaks occur only between JSON tokens.
                    Err(_) => value.replace(['\r', '\n'], " ").into(),
                });
            }
            "retry" => message.retry = Some(value.into()),
            _ => {
                let text = text().map_err(|_| format!("{name} is not a string"))?;
                // The name is a known one, and given once.
                let _ = message.set(name, text);
            }
        }
    }
    if message.is_empty() {
        return Ok(None);
    }
    let message = message.into_message().map_err(|error| match error {
        FieldError::Id(error) => error.to_string(),
        _ => "retry is not a whole number of milliseconds".to_owned(),
    })?;
    message.check().map_err(|error| error.to_string())?;
    Ok(Some(message))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::message::id::EventId;

    #[test]
    fn an_object_is_a_message() {
        let read = |text: &str| Message::from_json(text.as_bytes());
        let id = EventId::new("x-1").expect("the id is good");
        let full = Message::new("two\nlines").event("a").id(id).retry(Duration::from_millis(50));
        let full = full.channel("user/17");
        let text = r#"{"event":"a","data":"two\nlines","id":"x-1","retry":50,"channel":"user/17"}"#;
        assert_eq!(read(text), Ok(full));
        let json = read("{\"data\":{\"n\": [1, null]},\"id\":\"\",\"event\":null}\r\n");
        assert_eq!(json, Ok(Message::new("{\"n\": [1, null]}")));
        assert_eq!(read("{}"), Ok(Message::new("")));
    }

    #[test]
    fn a_message_within_something_else_is_read_alike() {
        for text in [
            r#"{"event":"a","data":"two\nlines","id":"x-1","retry":50,"channel":"user/17"}"#,
            r#"{"data":{"n":[1,null]},"id":"","event":null,"retry":null}"#,
            "{}",
        ] {
            let read = Message::from_json(text.as_bytes()).expect(text);
            let value: Value = serde_json::from_str(text).expect(text);
            assert_eq!(serde_json::from_value::<Message>(value).expect(text), read);
            let list = format!("[{text}, {text}]");
            let list: Vec<Message> = serde_json::from_str(&list).expect(text);
            assert_eq!(list, [read.clone(), read]);
        }
        for (text, why) in [
            ("[]", "a message, which is an object"),
            (r#"{"event":1}"#, "string"),
            (r#"{"event":"a\nb"}"#, "one line"),
            (r#"{"id":"\u00e9"}"#, "printable ASCII"),
            (r#"{"retry":"5"}"#, "u64"),
            (r#"{"retry":2147483648}"#, "at most 2147483647"),
            (r#"{"Data":1}"#, "unknown field \"Data\""),
            (r#"{"data":null,"data":"x"}"#, "data is given more than once"),
            (r#"{"retry":null,"retry":5}"#, "retry is given more than once"),
        ] {
            let error = serde_json::from_str::<Message>(text).expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, why) in [
            ("[]", "not a JSON object"),
            ("\"text\"", "not a JSON object"),
            ("{\"data\":1", "not a JSON object"),
            ("{} {}", "not a JSON object"),
            ("{\"event\":1}", "event is not a string"),
            ("{\"event\":\"a\\nb\"}", "one line"),
            ("{\"id\":7}", "id is not a string"),
            ("{\"channel\":7}", "channel is not a string"),
            ("{\"channel\":\"a\\nb\"}", "a channel's name"),
            ("{\"channel\":\"*\"}", "a channel's name"),
            ("{\"id\":\"a\\u0000\"}", "printable ASCII"),
            ("{\"id\":\"\\u00e9\"}", "printable ASCII"),
            ("{\"data\":\"a\\u0000\"}", "no NUL"),
            ("{\"retry\":2147483648}", "at most 2147483647"),
            ("{\"retry\":99999999999999999999}", "at most 2147483647"),
            ("{\"retry\":\"5\"}", "whole number"),
            ("{\"retry\":-5}", "whole number"),
            ("{\"retry\":1.5}", "whole number"),
            ("{\"Data\":\"x\"}", "unknown field \"Data\""),
            ("{\"Data\":null}", "unknown field \"Data\""),
            ("{\"data\":1,\"data\":1}", "data is given more than once"),
            ("{\"id\":null,\"event\":\"a\",\"id\":\"7\"}", "id is given more than once"),
            ("{\"retry\":1,\"\\u0072etry\":null}", "retry is given more than once"),
            ("{\"event\":\"a\",\"event\":\"b\",\"x\":", "not a JSON object"),
            ("{\"event\":\"a\",\"event\":\"b\"} x", "not a JSON object"),
            ("{\"data\":\"\\ud800\"}", "data: "),
        ] {
            let error = Message::from_json(line.as_bytes()).expect_err(line).to_string();
            assert!(error.contains(why), "{line}: {error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
        assert!(Message::from_json(b"{\"data\":\"\xff\"}").is_err());
    }
}
