//! The target of a request: a path, percent-decoded, and a query as it arrived.

use std::borrow::Cow;

use url::form_urlencoded;

use super::response::Refusal;

/// The target's parts (RFC 9112, section 3.2).
pub(super) struct Target {
    /// Host and port, if the target is a whole URL.
    pub(super) authority: Option<String>,
    pub(super) path: String,
    pub(super) query: String,
}

impl Target {
    pub(super) fn parse(method: &str, target: &str) -> Result<Self, Refusal> {
        if target.contains('#') {
            return Err(Refusal::new(400, "a request target has no fragment; encode # as %23"));
        }
        let (authority, origin) = if target.starts_with('/') {
            (None, target)
        } else if target == "*" && method == "OPTIONS" {
            return Ok(Self { authority: None, path: target.to_owned(), query: String::new() });
        } else {
            let (scheme, rest) = split_scheme(target).ok_or_else(malformed)?;
            let scheme_fits =
                scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
            let (authority, origin) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            if !scheme_fits || authority.is_empty() {
                return Err(malformed());
            }
            // A user name before the host could make it look like another host (RFC 9110, section
            // 4.2.4).
            if authority.starts_with(':') || !authority.bytes().all(is_host_byte) {
                return Err(Refusal::new(400, "a URL's host is a name or an address, and a port"));
            }
            (Some(authority.to_owned()), origin)
        };
        let (path, query) = origin.split_once('?').unwrap_or((origin, ""));
        let path = if path.is_empty() { "/" } else { path };
        let not_utf8 = || Refusal::new(400, "the request target is not UTF-8 once percent-decoded");
        let path = percent_decode(path.as_bytes()).into_owned();
        let path = String::from_utf8(path).map_err(|_| not_utf8())?;
        if !is_utf8_once_decoded(query.as_bytes()) {
            return Err(not_utf8());
        }
        Ok(Self { authority, path, query: query.to_owned() })
    }
}

pub(super) fn malformed() -> Refusal {
    Refusal::new(400, "the request target is a path that begins with a slash, or a whole URL")
}

/// Whether a byte can be part of a host and a port (RFC 3986, section 3.2.2).
pub(super) fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=:[]".contains(&byte)
}

/// Splits a URL into its scheme and the part after the two slashes (RFC 3986, section 3).
pub(super) fn split_scheme(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once(':')?;
    Some((scheme, rest.strip_prefix("//")?))
}

/// Whether a form is valid UTF-8 once decoded; the form parser would replace invalid bytes. The
/// separators are ASCII, so if the whole is valid, its parts are valid.
pub(super) fn is_utf8_once_decoded(form: &[u8]) -> bool {
    std::str::from_utf8(&percent_decode(form)).is_ok()
}

/// The parameters of a form, decoded, in their order (URL standard, section 5.1). Most of them have
/// nothing to decode.
pub(super) fn parameters(form: &[u8]) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    let pairs = form.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| match std::str::from_utf8(pair) {
        Ok(text) if !pair.contains(&b'%') && !pair.contains(&b'+') => {
            let (name, value) = text.split_once('=').unwrap_or((text, ""));
            (Cow::Borrowed(name), Cow::Borrowed(value))
        }
        _ => form_urlencoded::parse(pair).next().unwrap_or_default(),
    })
}

/// Decodes `%` and two hexadecimal digits (RFC 3986, section 2.1); everything else stays.
fn percent_decode(bytes: &[u8]) -> Cow<'_, [u8]> {
    if !bytes.contains(&b'%') {
        return Cow::Borrowed(bytes);
    }
    let digit = |at: usize| bytes.get(at).and_then(|&byte| char::from(byte).to_digit(16));
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let pair = (bytes[at] == b'%').then(|| Some((digit(at + 1)?, digit(at + 2)?))).flatten();
        // Two hexadecimal digits are one byte.
        let byte = pair.and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        decoded.push(byte.unwrap_or(bytes[at]));
        at += if byte.is_some() { 3 } else { 1 };
    }
    Cow::Owned(decoded)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn a_form_is_read_as_the_url_standard_says(
            form in vec(prop_oneof!["[a-c=&+%4é]", ".", Just("%C3%A9".to_owned())], 0..24)
        ) {
            let form = form.concat();
            prop_assert!(parameters(form.as_bytes()).eq(form_urlencoded::parse(form.as_bytes())));
        }

        #[test]
        fn a_form_of_any_bytes_too(form in vec(any::<u8>(), 0..24)) {
            prop_assert!(parameters(&form).eq(form_urlencoded::parse(&form)));
        }
    }
}
