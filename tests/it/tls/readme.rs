//! What the README says of HTTPS.

#![cfg(all(feature = "cli", unix))]

use std::process::Command;

use support::{Scratch, process::Running};

const README: &str = include_str!("../../../README.md");

#[test]
fn the_commands_of_the_readme_make_a_certificate_serve_by_it_and_listen() {
    let section = README.split("## HTTPS without a proxy").nth(1).unwrap();
    let block = section.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let (certify, rest) = block.split_once("cargo run").unwrap();
    let (serve, listen) = rest.split_once('\n').unwrap();
    let scratch = Scratch::new("tls-readme");
    let shell = |line: &str| {
        let mut command = Command::new("sh");
        command.arg("-c").arg(line).current_dir(&scratch.0);
        command
    };
    let made = shell(certify).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let flags = serve.split_once(" -- ").unwrap().1.replace("127.0.0.1:8443", "127.0.0.1:0");
    let line = format!("exec {} {flags}", env!("CARGO_BIN_EXE_websse"));
    let mut hub = Running::start(&mut shell(&line));
    let port = hub.address().port().to_string();
    let mut curl =
        Running::start(&mut shell(&listen.replace("8443", &port).replace("curl", "exec curl -s")));
    curl.assert_next(": websse\n");
    assert!(hub.terminate().0.success());
}
