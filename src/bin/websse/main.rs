//! The `websse` command: a server for Server-Sent Events, to be tried with curl.

#[cfg(not(unix))]
compile_error!(
    "the command needs Unix signals; the library does without, and without the feature cli"
);

mod arguments;
mod clients;
mod config;
mod config_file;
mod flags;
mod generate;
mod guard;
mod help;
mod https;
mod listen;
mod logger;
mod page;
mod spelling;
mod stdin;
mod stored;
mod systemd;
mod terminal;
mod timestamp;
mod token_files;
mod tokens;
mod units;
mod web_tokens;

use std::{
    io::{self, Write},
    net::IpAddr,
    process::ExitCode,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use log::{LevelFilter, error, info, warn};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use websse::{
    Action, Denied, Server,
    http::{AtOnce, Handler, HttpServer, Policy, Request, Response},
};

use crate::{
    arguments::Command,
    clients::Rate,
    config::{Config, Format},
    guard::Guard,
    help::ENDPOINTS,
    listen::{Address, Bound},
    systemd::{HandedOver, Notifier},
    terminal::Terminal,
    token_files::TokenFile,
};

/// How long a shutdown may take to answer requests in progress.
const ANSWER: Duration = Duration::from_secs(1);

const VERSION: &str = concat!("websse ", env!("CARGO_PKG_VERSION"), "\n");

/// The status if flags, variables, or files that they name are wrong.
const USAGE: u8 = 2;

/// Why the command ends with an error.
enum Failure {
    /// Flags, variables, or files that they name are wrong.
    Usage(Vec<String>),
    Other(String),
}

impl Failure {
    fn usage(error: String) -> Self {
        Self::Usage(vec![error])
    }
}

fn main() -> ExitCode {
    // Before there are other threads, as it changes the environment.
    let handed = HandedOver::of_environment();
    let command = arguments::read(
        std::env::args_os().skip(1),
        |name| std::env::var_os(name),
        std::env::vars_os().map(|(name, _)| name),
    );
    let (format, level) = match &command {
        Ok(Command::Serve(config)) => (config.log_format, config.log_level),
        _ => (Format::Text, LevelFilter::Info),
    };
    logger::to_stderr(format, level);
    if let Ok(Command::Check(config) | Command::Serve(config)) = &command {
        config.secret_files().filter_map(TokenFile::exposed).for_each(|exposed| warn!("{exposed}"));
    }
    let result = match command {
        Ok(Command::Help) => print(&help::help()).map_err(Failure::Other),
        Ok(Command::Version) => print(VERSION).map_err(Failure::Other),
        Ok(Command::Generate(kind)) => print(&kind.text()).map_err(Failure::Other),
        Ok(Command::Log(directory)) => {
            stored::lines(&directory).and_then(|lines| print(&lines)).map_err(Failure::Other)
        }
        Ok(Command::Check(config)) => check(&config),
        Ok(Command::Serve(config)) => {
            config.mistakes.iter().for_each(|mistake| warn!("{mistake}"));
            let server = register(&config).map_err(Failure::usage);
            server.and_then(|server| serve(&config, server, handed).map_err(Failure::Other))
        }
        Err(error) => Err(Failure::usage(format!("{error}; try websse --help"))),
    };
    let (errors, code) = match result {
        Ok(()) => (Vec::new(), ExitCode::SUCCESS),
        Err(Failure::Usage(errors)) => (errors, USAGE.into()),
        Err(Failure::Other(error)) => (vec![error], ExitCode::FAILURE),
    };
    for error in errors {
        error!("{error}");
    }
    log::logger().flush();
    code
}

fn print(text: &str) -> Result<(), String> {
    match io::stdout().write_all(text.as_bytes()) {
        // The reader of the output has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write to standard output: {error}"))
        }
        _ => Ok(()),
    }
}

/// Prints the configuration if it is right.
fn check(config: &Config) -> Result<(), Failure> {
    register(config).map_err(Failure::usage)?;
    if !config.mistakes.is_empty() {
        return Err(Failure::Usage(config.mistakes.clone()));
    }
    print(&arguments::shown(config)).map_err(Failure::Other)
}

/// Makes a server with the event types.
fn register(config: &Config) -> Result<Server, String> {
    let server = config.server.clone().build();
    server.register_event("").map_err(|error| error.to_string())?;
    let events = config.events.iter().chain(&config.presence);
    server.register_events(events).map_err(|error| error.to_string())?;
    Ok(server)
}

fn serve(config: &Config, server: Server, mut handed: HandedOver) -> Result<(), String> {
    // Before anything is accepted: from here on a signal ends the program in good order.
    let terminal = Terminal::of_now();
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])
        .map_err(|error| format!("cannot wait for signals: {error}"))?;
    raise_descriptor_limit();
    let server = Arc::new(server);
    server.run().map_err(|error| error.to_string())?;
    let guard = Arc::new(Guard::new(config)?);
    let (again, hangups) = mpsc::sync_channel(1);
    {
        let guard = Arc::clone(&guard);
        // A file may hang, as one of a network does, and a signal ends the command all the same. The
        // thread ends with the process.
        let https = config.https.clone();
        thread::spawn(move || {
            for () in hangups {
                guard.read_again();
                https.read_again();
            }
        });
    }
    let needs = guard.needs_tokens(first_event(config));
    let mut http = routes(config, &server, &guard);
    let mut bound = Vec::new();
    let places: Vec<_> = config.listen.iter().map(|listen| listen.place.clone()).collect();
    for listen in &config.listen {
        let place = &listen.place;
        let cannot = |error: io::Error| format!("cannot listen on {place}: {error}");
        for mut one in place.listen(config.unix_mode, &places, &mut handed).map_err(cannot)? {
            one.is_https = config.https.covers(listen, &config.listen);
            if let Some(listener) = one.listener.take() {
                http = http.policy(policy(config, &one.address)?);
                let listening = if one.is_https {
                    config.https.serve(http, listener)
                } else {
                    http.serve(listener)
                };
                // Its error names the address by itself.
                http = listening.map_err(|error| error.to_string())?;
            }
            bound.push(one);
        }
    }
    let redirect = config.https.redirect(&bound, &config.limits, &config.policy, &mut handed)?;
    if handed.len() > 0 {
        warn!("systemd handed over {} sockets that no --listen systemd takes", handed.len());
    }
    if guard.lets_all_publish() && bound.iter().any(|one| !one.address.is_local()) {
        warn!("whoever reaches this host may publish; --publish-token would restrict it");
    }
    print(&what_next(&bound, config, needs))?;
    let notifier = Notifier::of_environment();
    notifier.send("READY=1");
    notifier.watch(Arc::clone(&server));
    if let Some(lines) = config.stdin {
        let (server, event) = (Arc::clone(&server), first_event(config).to_owned());
        // The thread ends with the process: nothing interrupts a read.
        thread::spawn(move || stdin::publish(&server, io::stdin().lock(), lines, &event));
    }
    for signal in signals.forever() {
        if signal != SIGHUP {
            info!("signal {signal}, shutting down; once more ends it at once");
            break;
        }
        if terminal.is_gone() {
            info!("the terminal is gone, shutting down");
            break;
        }
        // If the files are to be read again already, that is still to begin, and enough.
        let _ = again.try_send(());
    }
    thread::spawn(move || {
        if signals.forever().any(|signal| signal != SIGHUP) {
            std::process::exit(1);
        }
    });
    notifier.stop();
    drop(redirect);
    http.shutdown(ANSWER);
    drop(bound);
    let report = server.shutdown(config.shutdown_timeout);
    if report.undelivered > 0 || report.cut_streams > 0 {
        warn!(
            "after {:?} gave up {} events and {} streams",
            config.shutdown_timeout, report.undelivered, report.cut_streams
        );
    }
    Ok(())
}

fn routes(config: &Config, server: &Server, guard: &Arc<Guard>) -> HttpServer {
    let rate = config.publishes_per_second.map(Rate::new).map(Arc::new);
    let proxies = config.proxies.clone();
    let decide = {
        let guard = Arc::clone(guard);
        move |request: &Request, action: Action<'_>| {
            guard.decide(request, action)?;
            let publishes = matches!(action, Action::Publish { .. });
            let rate = rate.as_deref().filter(|_| publishes);
            check_rate(rate, proxies.client(request))
        }
    };
    let mut stream = server.event_stream_handler().authorize(decide.clone());
    let mut send = server.send_message_handler().authorize(decide.clone());
    if config.channels {
        let guard = Arc::clone(guard);
        stream = stream.grant_channels(move |request, named| guard.limit(request, named));
        send = send.client_channels();
    }
    if let Some(limit) = config.types_per_stream {
        stream = stream.types_per_stream(limit);
    }
    if let Some(limit) = config.streams_per_address {
        let proxies = config.proxies.clone();
        stream = stream.streams_per_address(limit, move |request| proxies.client(request));
    }
    let http = HttpServer::new().limits(config.limits.clone());
    let metrics = server.metrics_handler().with_http(&http).authorize(decide.clone());
    let stats = server.stats_handler().with_http(&http).authorize(decide);
    // The decisions take microseconds, and never block.
    let (stream, send) = (AtOnce(stream), AtOnce(send));
    let shows_page = config.page;
    let http = http.post("/send", send.clone()).post("/send/", send);
    let http = get(http, "/event", stream);
    let http = get(http, "/metrics", metrics);
    let http = get(http, "/stats", stats);
    let http = get(http, "/healthz", server.health_handler());
    http.get("/", move |request: &Request| root(request, shows_page))
}

/// Mounts a handler at a path, with and without a slash at its end.
fn get(http: HttpServer, path: &str, handler: impl Handler + Clone) -> HttpServer {
    http.get(&format!("{path}/"), handler.clone()).get(path, handler)
}

/// The live page for browsers; the endpoints for curl and others, and if there is no page.
fn root(request: &Request, shows_page: bool) -> Response {
    let accepted = request.header("accept").unwrap_or_default();
    let is_browser = String::from_utf8_lossy(accepted).contains("text/html");
    let response = if is_browser && shows_page {
        Response::html(page::PAGE)
            .header("Content-Security-Policy", page::CSP)
            .header("X-Content-Type-Options", "nosniff")
            .header("Referrer-Policy", "no-referrer")
    } else {
        Response::text(200, ENDPOINTS)
    };
    response.header("Cache-Control", "no-cache").header("Vary", "Accept")
}

/// Whether a client may publish again now.
fn check_rate(rate: Option<&Rate>, client: Option<IpAddr>) -> Result<(), Denied> {
    let (Some(rate), Some(client)) = (rate, client) else {
        return Ok(());
    };
    let later = |wait| Denied::try_later("you publish too often", wait);
    rate.take(client, Instant::now()).map_err(later)
}

/// Which pages may use the server. On loopback it answers only to the names of this machine, and
/// those that are allowed: it refuses a page whose host name was pointed at it.
fn policy(config: &Config, address: &Address) -> Result<Policy, String> {
    let mut policy = config.policy.clone();
    if let Address::Tcp(address) = address
        && address.ip().is_loopback()
    {
        policy = policy.allow_host("localhost").map_err(|error| error.to_string())?;
    }
    let proxies = config.proxies.clone();
    Ok(policy.trust_forwarded_host(move |request| proxies.forwarded(request)))
}

/// Raises the limit of open descriptors as far as the system allows.
fn raise_descriptor_limit() {
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        warn!("cannot raise the limit of open descriptors: {error}");
    }
}

/// The first event type that has a name; else the general one.
fn first_event(config: &Config) -> &str {
    config.events.iter().find(|event| !event.is_empty()).map_or("", String::as_str)
}

/// The commands to try next, with the real addresses. `needs_tokens`: to listen, and to publish.
fn what_next(bound: &[Bound], config: &Config, needs_tokens: [bool; 2]) -> String {
    let listening = bound.iter().map(|one| match &one.address {
        Address::Tcp(address) => {
            format!("websse listens on {}://{address}\n", one.scheme())
        }
        #[cfg(unix)]
        address @ Address::Unix(_) => format!("websse listens on {address}\n"),
    });
    let listening = listening.collect::<Vec<_>>().concat();
    let Some(one) = bound.first() else {
        return listening;
    };
    let (option, host) = match &one.address {
        Address::Tcp(address) if one.is_https => {
            (String::new(), config.https.host(&address.to_string()))
        }
        Address::Tcp(address) => (String::new(), address.to_string()),
        #[cfg(unix)]
        Address::Unix(path) => {
            let path = path.display().to_string();
            let option = match path.strip_prefix('@') {
                Some(name) => format!("--abstract-unix-socket {name} "),
                None => format!("--unix-socket {path} "),
            };
            (option, "localhost".to_owned())
        }
    };
    let (listen, send) = match first_event(config) {
        "" => (String::new(), String::new()),
        event => (format!("?event={}", encode(event)), format!("event={}&", encode(event))),
    };
    // Not the token itself: what is printed here ends in logs.
    let scheme = one.scheme();
    let header = |needs| if needs { "-H 'Authorization: Bearer TOKEN' " } else { "" };
    let [to_listen, to_publish] = needs_tokens.map(header);
    format!(
        "{listening}listen:   curl -N {to_listen}{option}'{scheme}://{host}/event{listen}'\n\
         publish:  curl -X POST {to_publish}{option}'{scheme}://{host}/send?{send}data=hello'\n"
    )
}

/// Encodes an event type for a URL.
fn encode(text: &str) -> String {
    let encode = |byte: u8| {
        let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if plain { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    text.bytes().map(encode).collect::<Vec<_>>().concat()
}
