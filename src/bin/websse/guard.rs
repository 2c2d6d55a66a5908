//! What a request may do: by plain tokens, and by JSON Web Tokens beside them.

use std::sync::Arc;

use log::info;
use websse::{Action, Channels, Denied, http::Request};

use crate::{
    config::Config,
    token_files::TokensInUse,
    tokens::shown,
    web_tokens::{Grant, WebTokens, grants},
};

/// Decides about every request. A token of `--publish-token` or `--subscribe-token` is judged as if
/// there were no others. With `--token-key` each other request needs a JSON Web Token.
pub(crate) struct Guard {
    publish: TokensInUse,
    subscribe: TokensInUse,
    web: Option<Arc<WebTokens>>,
}

impl Guard {
    pub(crate) fn new(config: &Config) -> Result<Self, String> {
        let [publish, subscribe] = config.tokens()?;
        Ok(Self { publish, subscribe, web: WebTokens::new(config.token_keys.clone()) })
    }

    /// Reads the files with tokens and keys again. One that is not good changes nothing.
    pub(crate) fn read_again(&self) {
        let keys = self.web.as_ref().map_or(0, |web| web.read_again());
        if keys + self.publish.read_again() + self.subscribe.read_again() == 0 {
            info!("SIGHUP: there is no file with tokens or keys to be read again");
        }
    }

    /// Whether anybody may publish.
    pub(crate) fn lets_all_publish(&self) -> bool {
        self.publish.get().is_empty() && self.web.is_none()
    }

    /// Whether a token is needed to listen to a type, and whether one is needed to publish it.
    pub(crate) fn needs_tokens(&self, event: &str) -> [bool; 2] {
        let event = if event.is_empty() { "message" } else { event };
        let needs = |tokens: &TokensInUse| self.web.is_some() || tokens.get().guards(Some(event));
        [needs(&self.subscribe), needs(&self.publish)]
    }

    pub(crate) fn decide(&self, request: &Request, action: Action<'_>) -> Result<(), Denied> {
        match action {
            Action::Publish { event, channel } => match self.grant(&self.publish, request)? {
                None => self.publish.get().check(request, &[Some(event)]),
                Some(grant) => check_channels("publish", &grant.publish, &[channel]),
            },
            Action::Subscribe { events, channels } => match self.grant(&self.subscribe, request)? {
                None => {
                    let known = |&kind| (kind != "*").then_some(kind);
                    let types: Vec<_> = events.iter().map(known).collect();
                    self.subscribe.get().check(request, &types)
                }
                Some(grant) => check_channels("subscribe", &grant.subscribe, channels),
            },
            // The figures are those of all channels.
            _ => match self.grant(&self.subscribe, request)? {
                None => self.subscribe.get().check(request, &[None]),
                Some(grant) => check_channels("subscribe", &grant.subscribe, &["*"]),
            },
        }
    }

    /// Lets a stream listen only as long as its token is valid.
    pub(crate) fn limit(&self, request: &Request, named: Channels) -> Result<Channels, Denied> {
        let grant = self.grant(&self.subscribe, request)?;
        let until = grant.and_then(|grant| grant.until);
        Ok(until.map_or(named.clone(), |until| named.until(until)))
    }

    /// What a request's JSON Web Token grants; `None` if plain tokens decide.
    fn grant(&self, plain: &TokensInUse, request: &Request) -> Result<Option<Arc<Grant>>, Denied> {
        let Some(web) = &self.web else { return Ok(None) };
        let Some(shown) = shown(request)? else {
            return Err(Denied::unauthorized("a token is needed: Authorization: Bearer TOKEN"));
        };
        if plain.get().has(&shown) { Ok(None) } else { web.check(&shown).map(Some) }
    }
}

/// Whether this list of the token grants all of these channels; `*` stands for all channels.
fn check_channels(list: &str, granted: &[String], channels: &[&str]) -> Result<(), Denied> {
    let Some(other) = channels.iter().find(|channel| !grants(granted, channel)) else {
        return Ok(());
    };
    let denied = match *other {
        "" => "this token is not for the common channel, which is \"\"".to_owned(),
        "*" => "this token is not for all channels, which are \"*\"".to_owned(),
        other => format!("this token is not for the channel {other:?}"),
    };
    let denied = format!("{denied}; {list:?} in its claim websse would allow it");
    Err(Denied::forbidden(denied))
}
