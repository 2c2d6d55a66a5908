//! What packages of the command have beside it: a manual page, and completions for shells.
#![cfg(all(feature = "cli", unix))]
use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
};

use support::Scratch;

fn generate(kind: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_websse"));
    output(command.args(["--generate", kind]))
}

#[track_caller]
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn all_flags_are_in_them() {
    let help = output(Command::new(env!("CARGO_BIN_EXE_websse")).arg("--help"));
    let names = help.lines().filter_map(|line| line.strip_prefix("  --")?.split(' ').next());
    let names: Vec<&str> = names.collect();
    assert!(names.len() > 40, "{names:?}");
    for (kind, before) in [("man", "\\-\\-"), ("bash", "--"), ("fish", "-l "), ("zsh", "--")] {
        let text = generate(kind);
        for name in &names {
            let name = if kind == "man" { &name.replace('-', "\\-") } else { *name };
            assert!(text.contains(&format!("{before}{name}")), "{kind}: {name}");
        }
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_websse"));
    let refused = command.args(["--generate", "pdf"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8(refused.stderr).unwrap().contains("either man, bash, fish or zsh"));
}

#[test]
#[ignore = "needs mandoc"]
fn generated_is_a_manual_page() {
    let mut lint = Command::new("mandoc");
    let mut lint = lint.args(["-T", "lint", "-W", "error"]).stdin(Stdio::piped()).spawn().unwrap();
    lint.stdin.take().unwrap().write_all(generate("man").as_bytes()).unwrap();
    assert!(lint.wait().unwrap().success());
}

#[test]
#[ignore = "needs bash, fish and zsh"]
fn generated_completions_complete() {
    let scratch = Scratch::new("completions");
    let path = |name: &str| scratch.0.join(name).to_str().unwrap().to_owned();
    for (kind, name) in [("bash", "bash"), ("fish", "fish"), ("zsh", "_websse")] {
        fs::write(path(name), generate(kind)).unwrap();
    }
    fs::write(path("a file"), "").unwrap();
    let bash = |word: &str, before: &str| {
        let script = r#"source "$0"; _websse websse "$1" "$2"; printf '%s\n' "${COMPREPLY[@]}""#;
        let arguments = ["--norc", "-c", script, &path("bash"), word, before];
        output(Command::new("bash").args(arguments))
    };
    assert_eq!(bash("--log-l", "websse"), "--log-level\n");
    assert_eq!(bash("", "--stdin"), "text\njson\n");
    assert_eq!(bash(&path("a"), "--config"), format!("{}\n", path("a file")));

    let fish = |line: &str| {
        let script = format!("source {}; complete -C '{line}'", path("fish"));
        output(Command::new("fish").args(["--no-config", "-c", &script]))
    };
    assert_eq!(fish("websse --log-l"), "--log-level\terror, warn, info or debug\n");
    assert!(fish("websse --stdin ").starts_with("json\t"));
    assert!(fish(&format!("websse --config {}", path("a"))).contains("a file"));

    // It completes only where somebody types, on a terminal.
    let zsh = |typed: &str, completed: &str| {
        let script = r#"
            zmodload zsh/zpty
            zpty typist zsh -fi
            zpty -w typist "PS1='> '; fpath=($1 \$fpath); autoload -Uz compinit; compinit -D -u"
            zpty -w -n typist "websse $2"$'\t'
            zpty -r -m typist shown "*$3*"
            zpty -d typist"#;
        let directory = scratch.0.to_str().unwrap();
        let mut command = Command::new("timeout");
        output(command.args(["20", "zsh", "-fc", script, "-", directory, typed, completed]));
    };
    zsh("--log-l", "--log-level");
    zsh("--stdin=j", "--stdin=json");
}
