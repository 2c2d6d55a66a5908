//! What the command says about itself.

use std::fmt::{Arguments, Write};

use crate::flags::GROUPS;

const ABOUT: &str = "\
Server-Sent Events for browsers and curl

usage: websse [--listen ADDRESS]... [--event NAME]... [FLAG]...
       websse log DIRECTORY    prints the events of a --history-dir, one a line
";

/// The endpoints; also the answer at `/` if there is no page.
pub(crate) const ENDPOINTS: &str = "\
GET  /         the live page, for browsers
GET  /event    streams events; ?event=NAME chooses a type, again another, * all
               ?replay=N begins with the last N; Last-Event-ID, or
               ?last_event_id=ID, resumes
POST /send     publishes: event, data, id, retry in the query or a form body,
               or as a JSON object (application/json), or several, one a line
               (application/x-ndjson); any other body is the data itself
GET  /stats    figures, as JSON
GET  /metrics  figures, for Prometheus
GET  /healthz  says ok while events can be published
";

const NOTES: &str = "\
ADDRESS is HOST:PORT, all addresses of the host; :PORT, all interfaces, IPv4
and IPv6; unix:PATH; systemd, the sockets of a socket unit, or systemd:NAME,
those with a name. Under systemd Type=notify and WatchdogSec= work. With a
certificate all but unix: is https; http:// before an ADDRESS makes it plain,
and https:// before some makes plain what has neither.

X-Forwarded-For and X-Forwarded-Host of a trusted proxy are believed: it has to
set them, or to remove what a client sent.

Tokens come as Authorization: Bearer TOKEN, a cookie websse_token=TOKEN, or with
GET as ?access_token=TOKEN. Each flag is an environment variable as well,
--unix-mode as WEBSSE_UNIX_MODE, where several values stand between blanks, and
a line of the configuration file: unix-mode = \"660\", event = [\"a\", \"b\"],
no-page = true. A flag wins over its variable, and that over the file.

SIGHUP has the files of tokens, keys and certificates read again. A terminal
that is closed ends the command as SIGTERM and SIGINT do: what was accepted is
delivered.
";

#[cfg(not(feature = "jwt"))]
const WEB_TOKENS: &str = "";
#[cfg(feature = "jwt")]
const WEB_TOKENS: &str = r#"A token key is a file: a secret of at least 32 bytes (HS256), or a public key in
PEM, of Ed25519 (EdDSA) or RSA (RS256). With one, whatever shows none of the
tokens above needs a JSON Web Token, which has an end and its channels: names,
all below room/, "*" for all, "" for the common one:
  {"exp": 1893456000, "websse": {"subscribe": ["", "room/*"], "publish": []}}

"#;

const EXAMPLES: &str = "\
  websse --event news &
  curl -N 'http://127.0.0.1:8080/event?event=news' &
  curl -X POST 'http://127.0.0.1:8080/send?event=news&data=hello'
  tail -f log | websse --stdin text --event log
";

/// What follows the flags. A title is that of the manual page; without a text there is no chapter.
pub(crate) const CHAPTERS: [(&str, &str); 4] = [
    ("notes", NOTES),
    ("JSON Web Tokens", WEB_TOKENS),
    ("endpoints", ENDPOINTS),
    ("examples", EXAMPLES),
];

/// The text of `--help`.
pub(crate) fn help() -> String {
    let mut text = ABOUT.to_owned();
    for (title, flags) in GROUPS {
        text.push('\n');
        if !title.is_empty() {
            push(&mut text, format_args!("{title}:\n"));
        }
        for flag in *flags {
            let usage = format!("--{} {}", flag.name, flag.value);
            push(&mut text, format_args!("  {usage:<31}{}", flag.help));
            if !flag.default.is_empty() {
                push(&mut text, format_args!(" [{}]", flag.default));
            }
            text.push('\n');
        }
    }
    let [notes, tokens, endpoints, examples] = CHAPTERS.map(|(_, text)| text);
    push(&mut text, format_args!("\n{notes}\n{tokens}{endpoints}\nexamples:\n{examples}"));
    text
}

/// Adds to a text, which takes everything.
pub(crate) fn push(text: &mut String, more: Arguments<'_>) {
    let written = text.write_fmt(more);
    debug_assert!(written.is_ok(), "a string takes everything");
}
