//! What a browser makes of an event stream: the algorithm of the HTML standard, section 9.2.6, with
//! no regard to what this crate would send.

/// A stream that was read to its end.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct EventSource {
    pub(crate) events: Vec<Event>,
    /// The last event id after the first block, dispatched or not.
    pub(crate) position: Option<String>,
}

/// An event as it was dispatched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) kind: String,
    pub(crate) data: String,
    pub(crate) last_event_id: String,
    /// The reconnection time at that moment, in digits; empty as long as none was told.
    pub(crate) retry: String,
}

impl EventSource {
    /// Reads a whole stream; a block that its end cuts off counts for nothing.
    pub(crate) fn read(stream: &[u8]) -> Self {
        let text = std::str::from_utf8(stream).expect("an event stream is UTF-8");
        let text = with_line_feeds(text.strip_prefix('\u{feff}').unwrap_or(text));
        let mut source = Self::default();
        let (mut data, mut kind) = (String::new(), String::new());
        let (mut last_event_id, mut retry) = (String::new(), String::new());
        for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                _ if line.is_empty() => {
                    source.position.get_or_insert_with(|| last_event_id.clone());
                    let kind = std::mem::take(&mut kind);
                    if let Some(data) = std::mem::take(&mut data).strip_suffix('\n') {
                        source.events.push(Event {
                            kind: if kind.is_empty() { "message".to_owned() } else { kind },
                            data: data.to_owned(),
                            last_event_id: last_event_id.clone(),
                            retry: retry.clone(),
                        });
                    }
                }
                "event" => value.clone_into(&mut kind),
                "data" => data.extend([value, "\n"]),
                "id" if !value.contains('\0') => value.clone_into(&mut last_event_id),
                "retry" if is_digits(value) => value.clone_into(&mut retry),
                _ => {}
            }
        }
        source
    }
}

/// A text with the line endings that arrive.
pub(crate) fn with_line_feeds(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

pub(crate) fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
