//! Messages from JSON and to it (feature `json`).

use std::{borrow::Cow, error::Error, fmt};

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

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
pub struct JsonError {
    text: String,
    is_of_value: bool,
}

impl JsonError {
    /// Whether the text is an object with a message's fields, and only a value cannot be published.
    pub(crate) fn is_of_value(&self) -> bool {
        self.is_of_value
    }
}

/// What is wrong with the text, apart from values that cannot be published.
impl From<String> for JsonError {
    fn from(text: String) -> Self {
        Self { text, is_of_value: false }
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
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
                Some(format!(
                    "unknown field {}; use event, data, id, retry, channel",
                    Quoted(&name)
                ))
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

fn read(text: &[u8]) -> Result<Message, JsonError> {
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
    let wrong = |text| JsonError { text, is_of_value: true };
    let message = message.into_message().map_err(|error| match error {
        FieldError::Id(error) => wrong(error.to_string()),
        _ => wrong("retry is not a whole number of milliseconds".to_owned()),
    })?;
    message.check().map_err(|error| wrong(error.to_string()))?;
    Ok(message)
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
