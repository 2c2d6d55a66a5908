//! Tokens that requests must show.

use std::borrow::Cow;

use subtle::ConstantTimeEq;
use websse::{Denied, http::Request};

/// The cookie for a browser's `EventSource`, which cannot set header fields.
const COOKIE: &str = "websse_token";
/// The query parameter for the same purpose.
const PARAMETER: &str = "access_token";

/// Tokens for one kind of action. Without any, the action is open to all.
#[derive(Clone)]
pub(crate) struct Tokens {
    /// The flag that gives more of them.
    flag: &'static str,
    list: Vec<Token>,
}

#[derive(Clone)]
struct Token {
    /// `None`: the token is good for all event types.
    kind: Option<String>,
    secret: String,
}

impl Tokens {
    pub(crate) fn new(flag: &'static str) -> Self {
        Self { flag, list: Vec::new() }
    }

    /// Adds `TOKEN`, or `TYPE=TOKEN` where `TYPE` is one of the event types.
    pub(crate) fn add(&mut self, text: &str, types: &[String]) -> Result<(), String> {
        let own = text.split_once('=').filter(|(kind, _)| {
            kind.is_empty() || *kind == "message" || types.iter().any(|known| known == kind)
        });
        let (kind, secret) = match own {
            Some(("" | "message", secret)) => (Some("message".to_owned()), secret),
            Some((kind, secret)) => (Some(kind.to_owned()), secret),
            None => (None, text),
        };
        // As in a header field (RFC 6750, section 2.1).
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        if secret.is_empty() || !secret.bytes().all(is_good) {
            return Err("a token is made of letters, digits and -._~+/=".to_owned());
        }
        self.list.push(Token { kind, secret: secret.to_owned() });
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether this is one of them, for whichever type.
    pub(crate) fn has(&self, shown: &str) -> bool {
        // Each is compared, in a time that does not tell where they differ.
        let equal = |token: &Token| bool::from(token.secret.as_bytes().ct_eq(shown.as_bytes()));
        self.list.iter().fold(false, |known, token| known | equal(token))
    }

    /// Whether the request shows a token that is good for all of these types. `None` stands for the
    /// stats and for `*`, which need a token for all types.
    pub(crate) fn check(&self, request: &Request, types: &[Option<&str>]) -> Result<(), Denied> {
        if !types.iter().any(|kind| self.guards(*kind)) {
            return Ok(());
        }
        let Some(shown) = shown(request)? else {
            return Err(Denied::unauthorized("a token is needed: Authorization: Bearer TOKEN"));
        };
        let mut known = false;
        let mut opened = vec![false; types.len()];
        for token in &self.list {
            // In a time that does not tell where they differ.
            let equal = token.secret.as_bytes().ct_eq(shown.as_bytes()).into();
            known |= equal;
            for (opened, kind) in opened.iter_mut().zip(types) {
                *opened |= equal && (token.kind.is_none() || token.kind.as_deref() == *kind);
            }
        }
        let mut pairs = types.iter().zip(opened);
        let missing = pairs.find(|(kind, opened)| !opened && self.guards(**kind));
        match (known, missing) {
            (false, _) => Err(Denied::unauthorized("nobody has this token")),
            (true, Some((kind, _))) => Err(Denied::forbidden(self.would_allow(*kind))),
            (true, None) => Ok(()),
        }
    }

    /// Whether a token is needed for a type, or for all of them. A type is open if no token is for
    /// it and none is for all types.
    pub(crate) fn guards(&self, kind: Option<&str>) -> bool {
        let is_for = |token: &Token| match (kind, token.kind.as_deref()) {
            (Some(kind), Some(known)) => kind == known,
            _ => true,
        };
        self.list.iter().any(is_for)
    }

    /// Why a token that is known is refused, and what would make it good enough.
    fn would_allow(&self, kind: Option<&str>) -> String {
        let flag = self.flag;
        match kind {
            Some(kind) => format!(
                "this token is not for the event type {kind:?}; {flag} {}=TOKEN, or one \
                 without a type, would allow it",
                kind.escape_debug()
            ),
            None => format!(
                "this token is not for all event types; {flag} TOKEN, without a type, would allow \
                 it"
            ),
        }
    }
}

/// The token that a request shows: in its header, in a cookie, or in the query.
pub(crate) fn shown(request: &Request) -> Result<Option<Cow<'_, str>>, Denied> {
    let malformed = || Denied::unauthorized("a token comes as Authorization: Bearer TOKEN");
    if request.header("authorization").is_some() {
        return request.bearer().map(|token| Some(token.into())).ok_or_else(malformed);
    }
    let cookie = request.cookie(COOKIE).map(Cow::Borrowed);
    Ok(cookie.or_else(|| request.param(PARAMETER)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(texts: &[&str]) -> Tokens {
        let mut tokens = Tokens::new("--subscribe-token");
        for text in texts {
            tokens.add(text, &["news".to_owned()]).expect("the token is good");
        }
        tokens
    }

    /// 200, 401 or 403 for a request that shows a token in its header.
    fn status(tokens: &Tokens, token: &str, types: &[Option<&str>]) -> u16 {
        let request = Request::new("GET", "/").expect("the target is good");
        let request = match token {
            "" => request,
            token => request.with_header("Authorization", format!("Bearer {token}")),
        };
        match tokens.check(&request, types) {
            Ok(()) => 200,
            Err(denied) => {
                let is_known =
                    types.iter().any(|kind| denied == Denied::forbidden(tokens.would_allow(*kind)));
                if is_known { 403 } else { 401 }
            }
        }
    }

    #[test]
    fn a_token_opens_all_types_or_its_own() {
        let general = tokens(&["all", "news=paper"]);
        let typed = tokens(&["news=paper"]);
        let (news, other, any) = ([Some("news")], [Some("other")], [None]);
        for (tokens, token, types, expected) in [
            (&general, "all", &news, 200),
            (&general, "all", &any, 200),
            (&general, "paper", &news, 200),
            (&general, "paper", &other, 403),
            (&general, "paper", &any, 403),
            (&general, "wrong", &news, 401),
            (&general, "al", &news, 401),
            (&general, "all2", &news, 401),
            (&general, "", &other, 401),
            (&typed, "paper", &news, 200),
            (&typed, "", &news, 401),
            (&typed, "", &other, 200),
            (&typed, "", &any, 401),
            (&typed, "paper", &any, 403),
        ] {
            assert_eq!(status(tokens, token, types), expected, "{token:?} for {types:?}");
        }
        let both = [Some("news"), Some("other")];
        assert_eq!(status(&general, "paper", &both), 403);
        assert_eq!(status(&typed, "paper", &both), 200);
        assert_eq!(status(&Tokens::new("--subscribe-token"), "", &any), 200);
    }

    #[test]
    fn a_token_comes_in_the_header_a_cookie_or_the_query() {
        let tokens = tokens(&["right="]);
        let get = |target: &str| Request::new("GET", target).expect("the target is good");
        let check = |request: &Request| tokens.check(request, &[Some("a")]).is_ok();
        for (field, value, expected) in [
            ("Authorization", "Bearer right=", true),
            ("Authorization", "bearer   right= ", true),
            ("Authorization", "Basic right=", false),
            ("Authorization", "right=", false),
            ("Authorization", "Bearer", false),
            ("Cookie", "a=b; websse_token=right=; c=d", true),
            ("Cookie", "xwebsse_token=right=", false),
            ("Cookie", "websse_token=wrong", false),
        ] {
            assert_eq!(check(&get("/").with_header(field, value)), expected, "{field}: {value}");
        }
        assert!(check(&get("/?access_token=right%3D")));
        assert!(!check(&get("/?access_token=")));
        // The header wins.
        let two = get("/?access_token=right%3D").with_header("Authorization", "Bearer wrong");
        assert!(!check(&two));
    }

    #[test]
    fn a_token_is_text_that_a_header_can_carry() {
        for text in ["", "news=", "two words", "ü", "a\nb"] {
            assert!(Tokens::new("").add(text, &["news".to_owned()]).is_err(), "{text:?}");
        }
    }
}
