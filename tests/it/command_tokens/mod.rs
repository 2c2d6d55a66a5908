//! The command's JSON Web Tokens: what they let whom do, and how they end.
#![cfg(all(feature = "cli", feature = "jwt", unix))]
use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use support::{Answer, Client, SOON, Scratch, eventually, process::Running, sse::Block};

use crate::command_access::{ask, end, on_loopback};

/// 32 bytes, so that it is just long enough.
const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// Public keys that `openssl genpkey` and `openssl pkey -pubout` made, and a token of the first two
/// each: for the channel `a`, until the year 2100.
const ED25519: &str = include_str!("ed25519.pub.pem");
const BY_ED25519: &str = include_str!("ed25519.jwt");
const RSA: &str = include_str!("rsa.pub.pem");
const BY_RSA: &str = include_str!("rsa.jwt");
const SHORT_RSA: &str = include_str!("rsa-1024.pub.pem");
const ELLIPTIC: &str = include_str!("elliptic.pub.pem");

/// A token by HS256, with this header (RFC 7515, appendix A.1; RFC 2104).
fn signed(header: &Value, claims: &Value, secret: &str) -> String {
    let [header, claims] =
        [header, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string()));
    let pad = |byte: u8| {
        let mut block = [byte; 64];
        block.iter_mut().zip(secret.bytes()).for_each(|(pad, secret)| *pad ^= secret);
        Sha256::new_with_prefix(block)
    };
    let inner = pad(0x36).chain_update(format!("{header}.{claims}")).finalize();
    let signature = BASE64_URL_SAFE_NO_PAD.encode(pad(0x5c).chain_update(inner).finalize());
    format!("{header}.{claims}.{signature}")
}

fn token(claims: &Value) -> String {
    signed(&json!({"alg": "HS256"}), claims, SECRET)
}

/// This many seconds from now, as a token tells it.
fn after(seconds: i64) -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
        + seconds
}

/// A token for these channels, valid for a minute.
fn granting(subscribe: &[&str], publish: &[&str]) -> String {
    let lists = json!({"subscribe": subscribe, "publish": publish});
    token(&json!({"exp": after(60), "sub": "17", "websse": lists}))
}

/// A command with a key for each of these contents, and where they are.
fn with_keys(keys: &[&str], variables: &[(&str, &str)]) -> (Running, SocketAddr, Keys) {
    let keys = Keys::new(keys);
    let mut arguments = vec!["--event", "news"];
    arguments.extend(keys.paths().flat_map(|path| ["--token-key", path]));
    let (hub, address) = on_loopback(&arguments, variables);
    (hub, address, keys)
}

/// Files with keys.
struct Keys {
    _scratch: Scratch,
    paths: Vec<PathBuf>,
}

impl Keys {
    fn new(keys: &[&str]) -> Self {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let scratch = Scratch::new(&format!("token-keys-{}", MADE.fetch_add(1, Ordering::Relaxed)));
        let paths: Vec<_> =
            (0..keys.len()).map(|number| scratch.0.join(number.to_string())).collect();
        let new = Self { _scratch: scratch, paths };
        keys.iter().enumerate().for_each(|(number, key)| new.write(number, key));
        new
    }

    fn write(&self, number: usize, key: &str) {
        fs::write(&self.paths[number], format!("{key}\n")).unwrap();
    }

    fn paths(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().map(|path| path.to_str().unwrap())
    }
}

/// Asks with a token in the header, unless it is empty.
fn ask_with(address: SocketAddr, request: &str, token: &str) -> Answer {
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let mut client = Client::connect(address);
    let fields = if token.is_empty() { "" } else { &bearer };
    client.send(format!(
        "{request} HTTP/1.1\r\nHost: localhost\r\n{fields}Content-Length: 0\r\n\r\n"
    ));
    client.answer_or_stream()
}

fn listen(address: SocketAddr, query: &str, token: &str, fields: &str) -> Client {
    let mut client = Client::connect(address);
    client.send(format!(
        "GET /event?{query} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         {fields}\r\n"
    ));
    client.stream_head();
    client
}

fn data(block: Block) -> String {
    block.data.unwrap()
}

#[track_caller]
fn assert_answers(address: SocketAddr, request: &str, token: &str, status: u16, text: &str) {
    let answer = ask_with(address, request, token);
    let told = if answer.is_stream() { String::new() } else { answer.text() };
    assert_eq!(answer.status, status, "{request} {token}: {told}");
    assert!(told.contains(text), "{request} {token}: {told:?} has no {text:?}");
    let challenge = (status == 401).then_some("Bearer");
    assert_eq!(answer.field("www-authenticate"), challenge, "{request} {token}");
}

#[test]
fn a_token_is_for_the_channels_that_it_names() {
    let (hub, address, _keys) = with_keys(&[SECRET], &[]);
    let rooms = granting(&["room/*", "user/17"], &["room/2"]);
    let common = granting(&[""], &[""]);
    let all = granting(&["*"], &["*"]);
    let nothing = token(&json!({"exp": after(60)}));
    for (request, token, status, text) in [
        ("GET /event?channel=room/1", &rooms, 200, ""),
        ("GET /event?channel=room/1/door&event=news", &rooms, 200, ""),
        ("GET /event?channel=user/17&channel=room/1", &rooms, 200, ""),
        ("GET /event?channel=room", &rooms, 403, "not for the channel \"room\""),
        ("GET /event?channel=rooms/1", &rooms, 403, "not for the channel \"rooms/1\""),
        ("GET /event?channel=user/170", &rooms, 403, "not for the channel \"user/170\""),
        ("GET /event?channel=user/17&channel=user/4", &rooms, 403, "\"user/4\""),
        ("GET /event?channel=*", &rooms, 403, "not for all channels"),
        ("GET /event", &rooms, 403, "not for the common channel"),
        ("GET /event?channel=room/1&channel=", &rooms, 403, "not for the common channel"),
        ("GET /event", &common, 200, ""),
        ("GET /event?channel=a", &common, 403, "\"a\""),
        ("GET /event?channel=*", &all, 200, ""),
        ("GET /event?channel=", &all, 200, ""),
        ("GET /event", &nothing, 403, "not for the common channel"),
        ("GET /event?channel=a%0Ab", &all, 400, "control characters"),
        // What may be listened to may not be published, and the other way round.
        ("POST /send?data=x&channel=room/2", &rooms, 200, ""),
        ("POST /send?data=x&channel=room/1", &rooms, 403, "\"room/1\""),
        ("POST /send?data=x&channel=user/17", &rooms, 403, "\"user/17\""),
        ("POST /send?data=x", &rooms, 403, "not for the common channel"),
        ("POST /send?data=x", &common, 200, ""),
        ("POST /send?data=x&channel=a", &all, 200, ""),
        ("POST /send?data=x", &nothing, 403, "not for the common channel"),
        // The figures are those of all channels.
        ("GET /stats", &rooms, 403, "not for all channels"),
        ("GET /metrics", &rooms, 403, "not for all channels"),
        ("GET /stats", &all, 200, ""),
        ("GET /healthz", &nothing, 200, ""),
    ] {
        assert_answers(address, request, token, status, text);
    }
    for request in ["GET /event", "POST /send?data=x", "GET /stats", "GET /metrics"] {
        assert_answers(address, request, "", 401, "a token is needed");
    }
    // As a cookie and in the query as well.
    let cookie = format!("Cookie: websse_token={rooms}\r\n");
    assert_eq!(ask(address, "GET /event?channel=room/1", &cookie).status, 200);
    assert_eq!(ask(address, "GET /event?channel=room", &cookie).status, 403);
    let query = format!("GET /event?channel=room/1&access_token={rooms}");
    assert_eq!(ask(address, &query, "").status, 200);
    let errors = end(hub);
    assert!(!errors.contains("may publish"), "a key guards: {errors}");
    assert!(!errors.contains(&rooms), "no token is in the log: {errors}");
}

#[test]
fn a_token_that_is_not_good_is_told_what_is_wrong() {
    let (_hub, address, _keys) = with_keys(&[SECRET, ED25519], &[]);
    let claims = json!({"exp": after(60), "websse": {"subscribe": ["*"], "publish": ["*"]}});
    let good = token(&claims);
    let (unsigned, signature) = good.rsplit_once('.').unwrap();
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        token(&claims)
    };
    let by = |algorithm: &str, secret: &str| signed(&json!({"alg": algorithm}), &claims, secret);
    let without_signature = by("none", SECRET);
    let without_signature = format!("{}.", without_signature.rsplit_once('.').unwrap().0);
    let first = if signature.starts_with('A') { "B" } else { "A" };
    for (token, text) in [
        (without_signature, "signed by \"none\"; this server takes EdDSA or HS256"),
        (by("none", SECRET), "signed by \"none\""),
        (by("HS512", SECRET), "signed by \"HS512\""),
        (BY_RSA.to_owned(), "signed by \"RS256\""),
        // A public key is not a secret that one could sign with.
        (by("HS256", ED25519), "no key of this server made"),
        (by("EdDSA", ED25519), "no key of this server made"),
        (by("HS256", "another secret, also of many bytes"), "no key of this server made"),
        (format!("{unsigned}.{first}{}", &signature[1..]), "no key of this server made"),
        (format!("{unsigned}."), "no key of this server made"),
        (with("exp", json!(after(-1))), "has expired; get a new one"),
        (with("exp", json!(after(0))), "has expired; get a new one"),
        (with("exp", json!(null)), "needs exp"),
        (with("exp", json!("tomorrow")), "needs exp"),
        (with("exp", json!(-1)), "needs exp"),
        (with("nbf", json!(after(30))), "not valid yet"),
        (with("nbf", json!("x")), "needs nbf"),
        (with("aud", json!("shop")), "its aud is not websse"),
        (with("websse", json!({"subscribe": "*"})), "subscribe in the token's claim websse"),
        (with("websse", json!({"publish": [1]})), "publish in the token's claim websse"),
        (unsigned.to_owned(), "no JSON Web Token"),
        (format!("{good}.x"), "no JSON Web Token"),
        (format!("x{good}"), "no JSON Web Token"),
        ("guess".to_owned(), "no JSON Web Token"),
        ("a.b.c".to_owned(), "no JSON Web Token"),
        ("..".to_owned(), "no JSON Web Token"),
        ("x.".repeat(6000), "no JSON Web Token"),
        (signed(&json!({"alg": "HS256", "crit": ["x"]}), &claims, SECRET), "no JSON Web Token"),
        (signed(&json!({"typ": "JWT"}), &claims, SECRET), "no JSON Web Token"),
    ] {
        for request in ["GET /event?channel=a", "POST /send?channel=a&data=x", "GET /stats"] {
            assert_answers(address, request, &token, 401, text);
        }
    }
    for token in [
        good.clone(),
        with("nbf", json!(after(0))),
        with("aud", json!(["shop", "websse"])),
        with("exp", json!(f64::from(u32::MAX) + 0.5)),
        with("exp", json!(u64::MAX)),
        BY_ED25519.to_owned(),
    ] {
        assert_answers(address, "GET /event?channel=a", &token, 200, "");
    }
    // Of which nothing was published.
    let published = ask_with(address, "GET /stats", &good).text();
    assert!(published.contains("\"published\":0"), "{published}");
    // As long as a head may be: the longest are refused before anybody reads them.
    let many: Vec<String> = (0..500).map(|number| format!("room/{number}")).collect();
    let many = granting(&many.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
    assert_answers(address, "GET /event?channel=room/499", &many, 200, "");
    assert_answers(address, "GET /event?channel=room/500", &many, 403, "\"room/500\"");
    assert_eq!(ask_with(address, "GET /event", &"x".repeat(20_000)).status, 431);
    let target = format!("GET /event?access_token={}", "x".repeat(9000));
    assert_eq!(ask_with(address, &target, "").status, 414);
}

#[test]
fn each_kind_of_key_checks_tokens_of_its_own() {
    let (_hub, address, _keys) = with_keys(&[RSA], &[]);
    assert_answers(address, "GET /event?channel=a", BY_RSA, 200, "");
    assert_answers(address, "GET /event?channel=b", BY_RSA, 403, "\"b\"");
    assert_answers(address, "GET /event?channel=a", BY_ED25519, 401, "takes RS256");
    let forged = signed(&json!({"alg": "HS256"}), &json!({"exp": after(60)}), RSA);
    assert_answers(
        address,
        "GET /event",
        &forged,
        401,
        "signed by \"HS256\"; this server takes RS256",
    );
    let changed = BY_RSA.replace(".pgd_", ".pgdA");
    assert_answers(address, "GET /event?channel=a", &changed, 401, "no key of this server made");
}

#[test]
fn plain_tokens_are_judged_as_without_a_key() {
    let variables = [("WEBSSE_PUBLISH_TOKEN", "pub"), ("WEBSSE_SUBSCRIBE_TOKEN", "sub news=paper")];
    let (_hub, address, _keys) = with_keys(&[SECRET], &variables);
    let web = granting(&["a"], &[]);
    for (request, token, status, text) in [
        ("GET /event?channel=*&event=*", "sub", 200, ""),
        ("GET /event?event=news&channel=b", "paper", 200, ""),
        ("GET /event?event=*", "paper", 403, "--subscribe-token TOKEN, without a type"),
        ("GET /stats", "sub", 200, ""),
        ("POST /send?data=x&channel=b", "pub", 200, ""),
        ("POST /send?data=x&channel=b", "sub", 401, "no JSON Web Token"),
        ("GET /event", "pub", 401, "no JSON Web Token"),
        ("GET /event?channel=a&event=*", &web, 200, ""),
        ("GET /event?channel=b", &web, 403, "\"b\""),
        ("POST /send?data=x&channel=a", &web, 403, "\"a\""),
        ("GET /event", "", 401, "a token is needed"),
    ] {
        assert_answers(address, request, token, status, text);
    }
}

#[test]
fn nothing_of_a_batch_is_published_if_one_message_may_not_be() {
    let (_hub, address, _keys) = with_keys(&[SECRET], &[]);
    let mut listener = listen(address, "channel=*", &granting(&["*"], &[]), "");
    let token = granting(&[], &["room/*"]);
    let post = |lines: &str| {
        let mut client = Client::connect(address);
        client.send(format!(
            "POST /send HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/x-ndjson\r\nContent-Length: {}\r\n\r\n{lines}",
            lines.len()
        ));
        client.answer()
    };
    let line = |channel: &str, data: &str| json!({"channel": channel, "data": data}).to_string();
    let refused = post(&[line("room/1", "x"), line("user/1", "y")].join("\n"));
    assert_eq!(refused.status, 403, "{refused:?}");
    assert!(
        refused.text().contains("not for the channel \"user/1\"; \"publish\" in its claim websse"),
        "{refused:?}"
    );
    assert_eq!(post("{\"data\":\"x\"}").status, 403);
    let accepted = post(&[line("room/1", "z"), line("room/2", "w")].join("\n"));
    assert_eq!(accepted.status, 200);
    let events = [listener.event(), listener.event()];
    let [one, other] = events.each_ref().map(|event| event.id.as_deref().unwrap());
    let expected = format!("{{\"accepted\":2,\"ids\":[\"{one}\",\"{other}\"]}}\n");
    assert_eq!(accepted.text(), expected);
    assert_eq!(events.map(data), ["z", "w"]);
}

#[test]
fn a_stream_ends_with_its_token_and_goes_on_with_a_new_one() {
    let (_hub, address, _keys) = with_keys(&[SECRET], &[]);
    let publisher = granting(&["*"], &["*"]);
    let publish = |text: &str| {
        let request = format!("POST /send?channel=a&data={text}");
        assert_answers(address, &request, &publisher, 200, "");
    };
    let exp = after(2);
    let short = token(&json!({"exp": exp, "websse": {"subscribe": ["a"]}}));
    let mut client = listen(address, "channel=a", &short, "");
    let mut stays = listen(address, "channel=a", &granting(&["a"], &[]), "");
    publish("one");
    let id = client.event().id.unwrap();
    // A stream is cut, without a last chunk.
    let rest = client.drain(SOON);
    let ended = SystemTime::now();
    assert!(!String::from_utf8(rest).unwrap().contains("data"), "nothing else came");
    let end = UNIX_EPOCH + Duration::from_secs(u64::try_from(exp).unwrap());
    let late = ended.duration_since(end).expect("it does not end too early");
    assert!(late < Duration::from_secs(4), "it ended {late:?} late");
    publish("two");
    publish("three");
    let back = format!("Last-Event-ID: {id}\r\n");
    let refused =
        ask(address, "GET /event?channel=a", &format!("{back}Authorization: Bearer {short}\r\n"));
    assert_eq!(refused.status, 401, "the old one has expired");
    let mut client = listen(address, "channel=a", &granting(&["a"], &[]), &back);
    assert_eq!([(); 2].map(|()| data(client.event())), ["two", "three"]);
    assert_eq!([(); 3].map(|()| data(stays.event())), ["one", "two", "three"]);
    let figures: Value =
        serde_json::from_str(&ask_with(address, "GET /stats", &publisher).text()).unwrap();
    assert_eq!(figures["disconnected"]["expired"], 1, "{figures}");
    assert_eq!(figures["gaps"], 0, "{figures}");
}

#[test]
fn keys_are_read_again_at_a_hangup_and_stay_where_that_fails() {
    let secret = |letter: &str| letter.repeat(32);
    let (hub, address, keys) = with_keys(&[&secret("a"), &secret("b")], &[]);
    let claims = json!({"exp": after(60), "websse": {"subscribe": ["", "*"]}});
    let status = |letter: &str| {
        let token = signed(&json!({"alg": "HS256"}), &claims, &secret(letter));
        ask_with(address, "GET /event", &token).status
    };
    assert_eq!(["a", "b", "c"].map(status), [200, 200, 401]);
    keys.write(0, "too short");
    keys.write(1, &secret("c"));
    assert_eq!(["a", "b", "c"].map(status), [200, 200, 401], "not before");
    hub.signal("-HUP");
    eventually(SOON, 200, || status("c"));
    assert_eq!(["a", "b", "c"].map(status), [200, 401, 200]);
    fs::remove_file(&keys.paths[0]).unwrap();
    keys.write(1, ED25519);
    hub.signal("-HUP");
    eventually(SOON, 401, || status("c"));
    assert_eq!(status("a"), 200);
    assert_eq!(ask_with(address, "GET /event?channel=a", BY_ED25519).status, 200);
    let errors = end(hub);
    let first = keys.paths().next().unwrap();
    for text in ["9 bytes is too short", "No such file"] {
        let line = errors.lines().find(|line| line.contains(text)).expect(text);
        assert!(line.contains("error: ") && line.contains(first), "{line}");
        assert!(line.contains("stays as it was"), "{line}");
    }
    assert!(!errors.contains(&secret("a")), "{errors}");
}

#[test]
fn a_key_that_cannot_be_used_is_told_by_a_check() {
    let check = |path: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_websse"));
        let output = command.args(["--check", "--token-key", path]).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    };
    let keys = Keys::new(&[
        SECRET,
        ED25519,
        RSA,
        &SECRET[1..],
        "-----BEGIN PRIVATE KEY-----\nMC4=\n-----END PRIVATE KEY-----",
        "-----BEGIN PGP PUBLIC KEY BLOCK-----",
        SHORT_RSA,
        ELLIPTIC,
        "",
    ]);
    let told = [
        "",
        "",
        "",
        "31 bytes is too short",
        "openssl pkey -pubout",
        "something else",
        "2048 to 8192 bits, not 1024",
        "is of Ed25519 or RSA",
        "0 bytes is too short",
    ];
    for (path, told) in keys.paths().zip(told) {
        let (good, shown, errors) = check(path);
        assert_eq!(good, told.is_empty(), "{errors}");
        assert_eq!(good, shown.contains(&format!("--token-key {path}\n")), "{shown}");
        assert!(errors.contains(told) && !errors.contains(&SECRET[1..]), "{errors}");
        assert!(good || errors.contains(path), "{errors}");
        // Others may read it, which matters for a secret alone.
        let is_secret = keys.paths().next() == Some(path);
        assert_eq!(errors.contains(&format!("mode 644; chmod 600 {path}")), is_secret, "{errors}");
    }
    let (good, _, errors) = check("/nothing/here");
    let right = "it is a file with a secret, or with a public key in PEM";
    assert!(!good && errors.contains("No such file") && errors.contains(right), "{errors}");
    let mut empty = Command::new(env!("CARGO_BIN_EXE_websse"));
    let output = empty.arg("--check").env("WEBSSE_TOKEN_KEY", " ").output().unwrap();
    assert!(String::from_utf8(output.stderr).unwrap().contains("would guard nothing"));
}
