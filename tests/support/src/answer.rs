//! Responses, from the bytes that came.

use std::mem::replace;

/// With the charset, as Python's requests would take another one.
const STREAM: &str = "text/event-stream; charset=utf-8";

/// A response: its head, and its body where it was read.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub line: String,
    /// Names in lower case, in the order they came.
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// Takes a head from the beginning of `bytes`, if all of it is there; its lines must end in CRLF.
    #[track_caller]
    pub fn take_head(bytes: &mut Vec<u8>) -> Option<Answer> {
        let at = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let rest = bytes.split_off(at + 4);
        let head = String::from_utf8(replace(bytes, rest)).unwrap();
        let mut lines = head.trim_end_matches("\r\n").split("\r\n");
        let line = lines.next().unwrap().to_owned();
        let status = line
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .unwrap_or_else(|| panic!("expected a status line, got {line:?}"));
        let fields = lines
            .map(|line| {
                let bare = line.contains(['\r', '\n']);
                let (name, value) = line
                    .split_once(": ")
                    .filter(|_| !bare)
                    .unwrap_or_else(|| panic!("expected `name: value`, got {line:?} in {head:?}"));
                (name.to_ascii_lowercase(), value.to_owned())
            })
            .collect();
        Some(Answer { status, line, fields, body: Vec::new() })
    }

    /// How long its body is; `None` where the end of the connection tells, as for all chunked ones.
    #[track_caller]
    pub fn body_size(&self) -> Option<usize> {
        if let Some(coding) = self.field("transfer-encoding") {
            assert_eq!((coding, self.field("connection")), ("chunked", None), "{self:?}");
            return None;
        }
        if self.status < 200 || self.status == 204 {
            return Some(0);
        }
        self.field("content-length").map(|size| size.parse().unwrap())
    }

    /// Takes its body from the beginning of `bytes`.
    pub fn take_body(&mut self, bytes: &mut Vec<u8>, size: usize) {
        let rest = bytes.split_off(size);
        self.body = replace(bytes, rest);
    }

    /// The value of a field that comes at most once.
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(field, _)| field == name);
        let first = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "field {name} came twice: {self:?}");
        first
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// Whether events follow.
    pub fn is_stream(&self) -> bool {
        self.status == 200 && self.field("content-type") == Some(STREAM)
    }

    #[track_caller]
    pub fn assert_stream(&self) {
        assert_eq!(self.line, "HTTP/1.1 200 OK", "head of a stream: {self:?}");
        assert_eq!(self.field("content-type"), Some(STREAM), "{self:?}");
    }

    /// An error is explained in one line of plain text.
    #[track_caller]
    pub fn assert_explained(&self) {
        let kind = self.field("content-type").unwrap_or_default();
        assert!(kind.starts_with("text/plain"), "type of an error: {self:?}");
        let text = self.text();
        let line = text.strip_suffix('\n').unwrap_or(&text);
        assert!(
            !line.trim().is_empty() && !line.contains(['\n', '\r']),
            "expected one line of explanation, got {text:?}"
        );
    }
}
