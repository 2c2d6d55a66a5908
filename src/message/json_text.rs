//! Text as JSON writes it.

/// A text as JSON writes it (RFC 8259, section 7), on one line.
pub(crate) fn json_string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control < ' ' => {
                quoted.extend(format!("\\u{:04x}", u32::from(control)).chars());
            }
            plain => quoted.push(plain),
        }
    }
    quoted.push('"');
    quoted
}
