//! The configuration of the command.

use std::{collections::HashMap, time::Duration};

use log::LevelFilter;
use websse::{
    Builder, Server,
    http::{Limits, Policy},
};

use crate::{
    clients::Proxies,
    config_file::ConfigFile,
    https::Https,
    listen::Listen,
    token_files::{Source, TokensInUse},
    web_tokens::KeyFile,
};

/// How lines of standard input are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lines {
    /// Each is the data of an event of the first type.
    Text,
    /// Each is a message.
    Json,
}

/// How lines of the log are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
}

pub(crate) struct Config {
    /// What it sets and was not yet taken.
    pub(crate) file: ConfigFile,
    pub(crate) listen: Vec<Listen>,
    pub(crate) https: Https,
    pub(crate) unix_mode: u32,
    pub(crate) events: Vec<String>,
    pub(crate) channels: bool,
    pub(crate) stdin: Option<Lines>,
    pub(crate) page: bool,
    pub(crate) presence: Option<String>,
    pub(crate) log_format: Format,
    pub(crate) log_level: LevelFilter,
    pub(crate) publish_tokens: Vec<Source>,
    pub(crate) subscribe_tokens: Vec<Source>,
    pub(crate) token_keys: Vec<KeyFile>,
    pub(crate) policy: Policy,
    pub(crate) streams_per_address: Option<usize>,
    pub(crate) types_per_stream: Option<usize>,
    pub(crate) publishes_per_second: Option<u32>,
    pub(crate) proxies: Proxies,
    pub(crate) server: Builder,
    #[cfg(feature = "redis")]
    pub(crate) redis: Option<websse::redis::RedisConfig>,
    #[cfg(feature = "durable")]
    pub(crate) durable: Option<websse::durable::DurableConfig>,
    pub(crate) limits: Limits,
    pub(crate) shutdown_timeout: Duration,
    pub(crate) check: bool,
    /// What is set and has no effect: most likely it is misspelt. A check fails by it.
    pub(crate) mistakes: Vec<String>,
    /// The texts of the flags in effect, to show them.
    pub(crate) texts: HashMap<&'static str, Vec<String>>,
}

impl Config {
    pub(crate) fn new() -> Self {
        Self {
            file: ConfigFile::default(),
            listen: Vec::new(),
            https: Https::default(),
            unix_mode: 0,
            events: Vec::new(),
            channels: false,
            stdin: None,
            page: true,
            presence: None,
            log_format: Format::Text,
            log_level: LevelFilter::Info,
            publish_tokens: Vec::new(),
            subscribe_tokens: Vec::new(),
            token_keys: Vec::new(),
            policy: Policy::default(),
            streams_per_address: None,
            types_per_stream: None,
            publishes_per_second: None,
            proxies: Proxies::default(),
            server: Server::builder(),
            #[cfg(feature = "redis")]
            redis: None,
            #[cfg(feature = "durable")]
            durable: None,
            limits: Limits::default(),
            shutdown_timeout: Duration::ZERO,
            check: false,
            mistakes: Vec::new(),
            texts: HashMap::new(),
        }
    }

    /// The tokens to publish and to listen with.
    pub(crate) fn tokens(&self) -> Result<[TokensInUse; 2], String> {
        let types: Vec<String> = self.events.iter().chain(&self.presence).cloned().collect();
        Ok([
            TokensInUse::new("--publish-token", self.publish_tokens.clone(), types.clone())?,
            TokensInUse::new("--subscribe-token", self.subscribe_tokens.clone(), types)?,
        ])
    }

    /// The paths of the files that have secrets in them.
    pub(crate) fn secret_files(&self) -> impl Iterator<Item = &str> {
        let sources = self.publish_tokens.iter().chain(&self.subscribe_tokens);
        let token_files = sources.filter_map(|source| match source {
            Source::File(file) => Some(&*file.path),
            Source::Given(_) => None,
        });
        let keys = self.token_keys.iter().filter_map(KeyFile::secret_path);
        token_files.chain(keys).chain(self.https.key_path()).chain(self.file.with_secrets())
    }
}
