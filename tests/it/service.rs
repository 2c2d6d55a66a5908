//! The sample unit for systemd: its flags are flags of the command, and systemd understands it.
#![cfg(all(feature = "cli", target_os = "linux"))]
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

const UNIT: &str = include_str!("../../examples/websse.service");
const SOCKET: &str = include_str!("../../examples/websse.socket");
const INSTALLED: &str = "/usr/local/bin/websse";

/// What the unit sets, one value a line of its own or several.
fn values(name: &str) -> Vec<String> {
    let unit = UNIT.replace("\\\n", "");
    let lines = unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    lines.map(str::to_owned).collect()
}

#[test]
fn its_flags_are_in_effect() {
    let credentials = folder("credentials");
    fs::write(credentials.join("publish-token"), "secret\n").unwrap();
    let [start] = &values("ExecStart")[..] else { panic!("one command") };
    let arguments: Vec<&str> = start.strip_prefix(INSTALLED).unwrap().split_whitespace().collect();
    let mut command = Command::new(env!("CARGO_BIN_EXE_websse"));
    command.arg("--check").args(&arguments);
    for variable in values("Environment") {
        let (name, value) = variable.split_once('=').unwrap();
        command.env(name, value.replace("%d", credentials.to_str().unwrap()));
    }
    let Output { status, stdout, stderr } = command.output().unwrap();
    fs::remove_dir_all(&credentials).unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    let shown = String::from_utf8(stdout).unwrap();
    for flag in arguments.chunks(2) {
        assert!(shown.contains(&format!("{}\n", flag.join(" "))), "{flag:?} in\n{shown}");
    }
    for guard in
        ["publish-token-file", "streams-per-address", "publishes-per-second", "trusted-proxy unix"]
    {
        assert!(shown.contains(&format!("--{guard}")), "{guard} in\n{shown}");
    }
    let streams = arguments.iter().skip_while(|flag| **flag != "--max-streams").nth(1).unwrap();
    let descriptors = &values("LimitNOFILE")[0];
    assert!(descriptors.parse::<u32>().unwrap() > streams.parse::<u32>().unwrap());
}

#[test]
#[ignore = "needs systemd-analyze"]
fn systemd_understands_it_and_finds_little_exposed() {
    let folder = folder("unit");
    let file = folder.join("websse.service");
    // What it starts has to exist.
    fs::write(&file, UNIT.replace(INSTALLED, env!("CARGO_BIN_EXE_websse"))).unwrap();
    fs::write(folder.join("websse.socket"), SOCKET).unwrap();
    for arguments in [&["verify"][..], &["security", "--offline=true", "--threshold=10"]] {
        let output = Command::new("systemd-analyze").args(arguments).arg(&file).output().unwrap();
        let said = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap());
        assert!(output.status.success(), "{}", said.concat());
        assert_eq!(said[1], "", "{arguments:?}");
    }
    fs::remove_dir_all(&folder).unwrap();
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("service-{name}"));
    fs::create_dir_all(&folder).unwrap();
    folder
}
