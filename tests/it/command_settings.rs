//! How the command is configured, and what it says about that.
#![cfg(all(feature = "cli", unix))]
use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use support::Scratch;

use crate::command_access::{end, on_loopback};

#[test]
fn the_commands_to_try_have_a_token_where_one_is_needed() {
    let header = "-H 'Authorization: Bearer TOKEN' ";
    for (variable, token, needs) in [
        ("WEBSSE_EVENT", "news", [false, false]),
        ("WEBSSE_SUBSCRIBE_TOKEN", "secret", [true, false]),
        ("WEBSSE_PUBLISH_TOKEN", "news=secret", [false, true]),
        ("WEBSSE_PUBLISH_TOKEN", "other=secret", [false, false]),
    ] {
        let arguments = ["--event", "news", "--event", "other"];
        let (mut hub, _) = on_loopback(&arguments, &[(variable, token)]);
        for needs in needs {
            let line = hub.line();
            assert_eq!(line.contains(header), needs, "{variable}={token}: {line}");
            assert!(!line.contains("secret"), "{line}");
        }
    }
}

#[test]
fn a_configuration_can_be_checked_and_shows_no_secret() {
    let check = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_websse"));
        let output = command.arg("--check").args(arguments).env("WEBSSE_RETRY", "9s").output();
        let output = output.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    };
    let (good, shown, errors) = check(&["--publish-token", "secret", "--event", "news"]);
    assert!(good && errors.is_empty(), "{errors}");
    assert!(
        shown.starts_with("--listen 127.0.0.1:8080\n--unix-mode 660\n--event news\n"),
        "{shown}"
    );
    assert!(
        shown.contains("--publish-token (set)\n--") && shown.contains("--retry 9s\n"),
        "{shown}"
    );
    assert!(!shown.contains("secret"));
    let (good, _, errors) = check(&["--event", "*"]);
    assert!(!good && errors.contains("reserved"), "{errors}");
}

#[test]
fn a_file_configures_what_no_flag_and_no_variable_does() {
    let scratch = Scratch::new("config-file");
    let path = scratch.0.join("websse.toml");
    let path = path.to_str().unwrap();
    let check = |text: &str, arguments: &[&str]| {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_websse"));
        command.arg("--check").args(arguments).env("WEBSSE_CONFIG", path);
        command.envs([("WEBSSE_RETRY", "9s"), ("WEBSSE_CHANNELS", "0"), ("WEBSSE_PRESENCE", "")]);
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let text = "# Of the office.\nlisten = \":80\"\nevent = ['file', 'two words']\nretry = '1s'\n\
                presence = 'many'\nmax-streams = 2_000\nno-page = true\nchannels = true\n";
    let (status, shown, errors) = check(text, &["--listen", ":81", "--heartbeat", "4s"]);
    assert_eq!((status, &*errors), (0, ""));
    let expected = format!(
        "--config {path}\n--listen :81\n--unix-mode 660\n--event file\n--event two words\n\
         --no-page\n--presence many\n"
    );
    assert!(shown.starts_with(&expected), "{shown}");
    for line in ["--max-streams 2000", "--heartbeat 4s", "--retry 9s"] {
        assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
    }

    // Others may read what has no secret in it.
    let (status, shown, errors) = check("publish-token = 'hidden'\n", &[]);
    assert!(status == 0 && shown.contains("--publish-token (set)\n"), "{shown}");
    assert!(errors.contains(&format!("mode 644; chmod 600 {path}")), "{errors}");
    for (text, told) in [
        ("\nheartbeat = '4'\n", format!("{path}, line 2: heartbeat 4: \"4\" is not a time")),
        ("log_level = 'debug'", format!("WEBSSE_CONFIG {path}: line 1: log_level is no flag")),
        ("publish-token = hidden", format!("WEBSSE_CONFIG {path}: line 1: ")),
        ("publish-token = 'hidden hidden'", format!("{path}, line 1: publish-token: a token is")),
    ] {
        let (status, shown, errors) = check(text, &[]);
        assert!(status == 2 && shown.is_empty() && errors.contains(&told), "{told}: {errors}");
        assert!(!errors.contains("hidden"), "{errors}");
    }
    let (status, _, errors) = check("", &["--config", "/nothing/here"]);
    assert!(status == 2 && errors.contains("--config /nothing/here: No such file"), "{errors}");
}

#[test]
fn a_token_file_has_comments_and_is_its_owners_alone() {
    let scratch = Scratch::new("token-file");
    let path = scratch.0.join("tokens");
    let path = path.to_str().unwrap();
    let check = |text: &str, mode: u32| {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_websse"));
        let output = command.args(["--check", "--publish-token-file", path]).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let good = "# Those of May.\n\none\n  # and more\nmessage=two\n";
    assert_eq!(check(good, 0o600), (true, String::new()));
    assert_eq!(check(good, 0o400), (true, String::new()));
    for mode in [0o640, 0o604, 0o620] {
        let (good, errors) = check(good, mode);
        assert!(good && errors.contains("warn: "), "{mode:o}: {errors}");
        assert!(errors.contains(&format!("mode {mode:o}; chmod 600 {path}")), "{errors}");
    }
    for (text, told) in [
        ("# Those of May.\none\ntwo words\n", ", line 3: a token is made of"),
        ("one\nmessage=\n", ", line 2: a token is made of"),
        ("# None.\n\n", ": there is no token in it"),
    ] {
        let (good, errors) = check(text, 0o600);
        assert!(!good && errors.contains(&format!("{path}{told}")), "{errors}");
        assert!(!errors.contains("two words"), "{errors}");
    }
}

#[test]
fn what_is_misspelt_is_a_warning_and_fails_a_check() {
    let variables = [("WEBSSE_LISEN", ":80"), ("WEBSSE_PUBLISH_TOKEN", "nwes=secret")];
    let expected = [
        "WEBSSE_LISEN is no variable of the command, and has no effect; is it WEBSSE_LISTEN?",
        "--publish-token: what is before = is no event type that is registered, so that all of it \
         is a token for all types; is it \"news\"?",
    ];
    let lines = |level: &str| expected.map(|line| format!("websse: {level}: {line}\n")).concat();
    let (hub, _) = on_loopback(&["--event", "news"], &variables);
    let errors = end(hub);
    assert!(errors.starts_with(&lines("warn")), "{errors}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_websse"));
    let output = command.args(["--check", "--event", "news"]).envs(variables).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), lines("error"));
    assert!(output.stdout.is_empty());
}

/// Whether it is a time of now, as in `2026-12-01T08:30:00.125Z`.
fn is_time(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "0000-00-00T00:00:00.000Z" && text > "2026"
}

#[test]
fn the_log_can_be_json() {
    let (hub, _) = on_loopback(&["--log-format", "json"], &[]);
    let errors = end(hub);
    let line: serde_json::Value = serde_json::from_str(&errors).unwrap();
    assert_eq!(line["level"], "info");
    assert!(line["message"].as_str().unwrap().contains("shutting down"), "{line}");
    assert!(is_time(line["time"].as_str().unwrap()), "{line}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_log_on_a_terminal_has_the_time() {
    let websse = format!("exec {} --check --lisen", env!("CARGO_BIN_EXE_websse"));
    let output = Command::new("script").args(["-qec", &websse, "/dev/null"]).output().unwrap();
    let line = String::from_utf8(output.stdout).unwrap();
    let (time, line) = line.split_once(' ').expect("a time before the line");
    assert!(is_time(time) && line.starts_with("websse: error: "), "{time} {line}");
}
