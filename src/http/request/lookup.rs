//! What handlers look for in a request.

use std::{borrow::Cow, str};

use super::Request;

/// The names of the last event's id in a query: clients do not agree on one.
pub(crate) const LAST_EVENT_ID: [&str; 4] =
    ["last_event_id", "lastEventId", "lastEventID", "last-event-id"];

impl Request {
    /// A parameter: the one of the [route's path](crate::http::HttpServer::get) if it has this name,
    /// else the first of the query. A client cannot replace the path's by its query.
    ///
    /// ```
    /// # use websse::http::Request;
    /// let request = Request::new("GET", "/jobs?page=2&page=3")?;
    /// assert_eq!(request.param("page").as_deref(), Some("2"));
    /// # Ok::<(), websse::http::RequestError>(())
    /// ```
    pub fn param(&self, name: &str) -> Option<Cow<'_, str>> {
        match &self.param {
            Some((known, value)) if known == name => Some(value.into()),
            _ => self.query().find(|(known, _)| known == name).map(|(_, value)| value),
        }
    }

    /// Sets the parameter of the path, as a [route](crate::http::HttpServer::get) does, to test a
    /// handler with.
    ///
    /// ```
    /// # use websse::http::Request;
    /// let request = Request::new("DELETE", "/jobs/7?id=8")?.with_param("id", "7");
    /// assert_eq!(request.param("id").as_deref(), Some("7"));
    /// # Ok::<(), websse::http::RequestError>(())
    /// ```
    pub fn with_param(mut self, name: &str, value: &str) -> Self {
        self.set_param(name, value);
        self
    }

    pub(in crate::http) fn set_param(&mut self, name: &str, value: &str) {
        self.param = Some((name.to_owned(), value.to_owned()));
    }

    /// A header field as [`header`](Self::header) finds it, if it is UTF-8.
    pub fn header_str(&self, name: &str) -> Option<&str> {
        self.header(name).and_then(|value| str::from_utf8(value).ok())
    }

    /// The value of a cookie, as it was sent, or of the first of several with this name (RFC 6265,
    /// section 5.4).
    ///
    /// ```
    /// # use websse::http::Request;
    /// let request = Request::new("GET", "/")?.with_header("Cookie", "a=1; session=x=y");
    /// assert_eq!(request.cookie("session"), Some("x=y"));
    /// # Ok::<(), websse::http::RequestError>(())
    /// ```
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let fields = self.headers("cookie").filter_map(|value| str::from_utf8(value).ok());
        let pairs = fields.flat_map(|field| field.split(';')).filter_map(|it| it.split_once('='));
        let mut named = pairs.filter(|(known, _)| known.trim() == name);
        named.next().map(|(_, value)| value.trim())
    }

    /// The token of `Authorization: Bearer TOKEN` (RFC 6750, section 2.1); `None` for any other
    /// scheme, and where there is no token. Compare it with a secret in a time that does not depend
    /// on where they differ.
    ///
    /// ```
    /// # use websse::http::Request;
    /// let request = Request::new("GET", "/")?.with_header("Authorization", "Bearer let-me-in");
    /// assert_eq!(request.bearer(), Some("let-me-in"));
    /// # Ok::<(), websse::http::RequestError>(())
    /// ```
    pub fn bearer(&self) -> Option<&str> {
        let (scheme, token) = self.header_str("authorization")?.split_once(' ')?;
        let is_bearer = scheme.eq_ignore_ascii_case("Bearer");
        Some(token.trim()).filter(|token| is_bearer && !token.is_empty())
    }

    /// The id after which a client wants to resume: its `Last-Event-ID` (HTML standard, section
    /// 9.2.4), or for clients that cannot set header fields the last of the query's `last_event_id`,
    /// `lastEventId`, `lastEventID` or `last-event-id`. `None` if it is empty.
    ///
    /// ```
    /// # use websse::http::Request;
    /// let request = Request::new("GET", "/?lastEventId=6")?.with_header("Last-Event-ID", "7");
    /// assert_eq!(request.last_event_id().as_deref(), Some("7"));
    /// # Ok::<(), websse::http::RequestError>(())
    /// ```
    pub fn last_event_id(&self) -> Option<Cow<'_, str>> {
        let header = self.header("last-event-id").map(String::from_utf8_lossy);
        header.filter(|id| !id.is_empty()).or_else(|| {
            let named = self.query().filter(|(name, _)| LAST_EVENT_ID.contains(&&**name));
            named.map(|(_, id)| id).filter(|id| !id.is_empty()).last()
        })
    }

    /// The body, read as JSON, whatever its type is said to be. Needs the feature `json`.
    ///
    /// # Errors
    /// If it is not JSON, or not what `T` is made of.
    ///
    /// ```
    /// # use websse::http::Request;
    /// let request = Request::new("POST", "/")?.with_body("[1, 2]");
    /// assert_eq!(request.json::<Vec<u8>>()?, [1, 2]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "json")]
    pub fn json<'r, T: serde::Deserialize<'r>>(&'r self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(self.body())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(name: &str, value: &str) -> Request {
        Request::new("GET", "/").expect("a good target").with_header(name, value)
    }

    #[test]
    fn only_a_bearer_has_a_token() {
        for (field, token) in [
            ("Bearer a", Some("a")),
            ("bearer  a b ", Some("a b")),
            ("Bearer ", None),
            ("Bearer", None),
            ("Bearera b", None),
            ("Basic a", None),
        ] {
            assert_eq!(request("Authorization", field).bearer(), token, "{field}");
        }
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let request = request("Cookie", "xa=0; a=1;b=;c").with_header("Cookie", "a=2; d=\"4\"");
        let values = ["a", "b", "c", "d", "xa", "A", ""].map(|name| request.cookie(name));
        assert_eq!(values, [Some("1"), Some(""), None, Some("\"4\""), Some("0"), None, None]);
    }

    #[test]
    fn the_header_wins_over_the_query_unless_it_is_empty() {
        let target = "/?last_event_id=1&lastEventId=2&lastEventID=";
        let request = Request::new("GET", target).expect("a good target");
        assert_eq!(request.last_event_id().as_deref(), Some("2"));
        let empty = request.clone().with_header("Last-Event-ID", "");
        assert_eq!(empty.last_event_id().as_deref(), Some("2"));
        let header = request.with_header("Last-Event-ID", "3");
        assert_eq!(header.last_event_id().as_deref(), Some("3"));
    }
}
