//! Disks of our own: one that is full, and one whose power is cut. They are images of ext4 on loop
//! devices.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use support::random::Random;
use support::{Client, SOON, Scratch, eventually};

use crate::trial::{Trial, number, post, under_load};

#[track_caller]
fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
}

/// A file system in a file, mounted as long as this is there.
struct Disk {
    scratch: Scratch,
    image: PathBuf,
}

impl Disk {
    fn new(name: &str, mebibytes: u64) -> Self {
        let scratch = Scratch::new(name);
        let image = scratch.0.join("image");
        fs::File::create(&image).unwrap().set_len(mebibytes << 20).unwrap();
        run("mkfs.ext4", &["-q", image.to_str().unwrap()]);
        fs::create_dir(scratch.0.join("mount")).unwrap();
        let disk = Self { scratch, image };
        disk.mount();
        disk
    }

    fn path(&self) -> PathBuf {
        self.scratch.0.join("mount")
    }

    fn mount(&self) {
        let path = self.path();
        run("mount", &["-o", "loop", self.image.to_str().unwrap(), path.to_str().unwrap()]);
    }

    fn unmount(&self) {
        run("umount", &[self.path().to_str().unwrap()]);
    }

    /// The image as it is on the device now, without what the system has not written to it yet.
    fn snapshot(&self) -> PathBuf {
        let copy = self.scratch.0.join("snapshot");
        // The file system goes on for a moment when nobody uses it: what was copied meanwhile is of no
        // one moment.
        loop {
            let before = self.written();
            run("cp", &["--sparse=always", self.image.to_str().unwrap(), copy.to_str().unwrap()]);
            if self.written() == before {
                return copy;
            }
        }
    }

    /// What the device has written so far, and what it writes now.
    fn written(&self) -> [String; 2] {
        let image = self.image.to_str().unwrap();
        let output = Command::new("losetup").args(["-n", "-O", "NAME", "-j", image]).output();
        let device = String::from_utf8(output.unwrap().stdout).unwrap();
        let name = device.trim().strip_prefix("/dev/").unwrap();
        let stat = fs::read_to_string(format!("/sys/block/{name}/stat")).unwrap();
        let fields: Vec<&str> = stat.split_whitespace().collect();
        [fields[6].to_owned(), fields[8].to_owned()]
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a failed test has left a process behind that uses it.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

/// As after the machine was started again.
fn another_run_of_the_machine(history: &Path) {
    let path = history.join("state");
    let text = fs::read_to_string(&path).unwrap();
    let (rest, _) = text.trim_end().rsplit_once('\n').unwrap();
    // In place, as a copy is told by its inode.
    fs::write(path, format!("{rest}\nanother run\n")).unwrap();
}

/// Cuts the power as often as `WEBSSE_KILLS` says.
fn power_is_cut(
    name: &str,
    flags: &'static [&'static str],
    check: fn(&Trial, &[crate::trial::Heard]),
) {
    let disk = Disk::new(name, 256);
    let trial = Trial::new(disk.path().join("history"), flags);
    let heard = under_load(&trial, |mut running, random: &mut Random| {
        for _ in 0..number("WEBSSE_KILLS", 8) {
            thread::sleep(Duration::from_millis(100 + random.below(900) as u64));
            running.signal("-STOP");
            let snapshot = disk.snapshot();
            running.child.kill().unwrap();
            running.child.wait().unwrap();
            disk.unmount();
            fs::rename(snapshot, &disk.image).unwrap();
            disk.mount();
            another_run_of_the_machine(&disk.path().join("history"));
            running = trial.start();
        }
        running
    });
    check(&trial, &heard);
}

#[test]
#[ignore = "needs root, to mount a disk"]
fn what_is_acknowledged_survives_power_cuts() {
    power_is_cut("durable-power", &[], Trial::check);
}

#[test]
#[ignore = "needs root, to mount a disk"]
fn what_a_power_cut_takes_is_told() {
    power_is_cut("durable-power-lazily", &["--history-commit", "200ms"], Trial::check_with_gaps);
}

/// What a client with this last id is sent, up to the event with this data.
fn heard(address: SocketAddr, last: &str, until: &str) -> Vec<String> {
    let mut client = Client::connect(address);
    client.send(format!("GET /event HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: {last}\r\n\r\n"));
    client.stream_head();
    let mut heard = Vec::new();
    while heard.last().is_none_or(|last| last != until) {
        let block = client.event();
        heard.extend(block.event.or(block.data));
    }
    heard
}

#[test]
#[ignore = "needs root, to mount a disk"]
fn a_full_disk_is_gone_without_and_a_restart_meanwhile_is_told() {
    let disk = Disk::new("durable-memory", 8);
    let ballast = disk.path().join("ballast");
    fs::write(&ballast, vec![1; 4 << 20]).unwrap();
    let trial = Trial::new(disk.path().join("history"), &["--history-when-full", "memory"]);
    let running = trial.start();
    let address = trial.address();
    let health = || {
        let mut client = Client::connect(address);
        client.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let answer = client.answer();
        assert_eq!(answer.status, 200);
        answer.text().contains("in memory alone")
    };
    let publish = |data: &str| {
        let (status, id) = post(address, data).unwrap();
        assert_eq!(status, 200);
        id
    };
    assert!(!health());
    let mut number = 0;
    while !health() {
        publish(&format!("{number} {}", "x".repeat(20_000)));
        number += 1;
    }
    let mut ids = vec![publish("memory 1")];
    ids.push(publish("memory 2"));
    // While it is full nothing is missing; a kill costs what only memory had.
    assert_eq!(heard(address, &ids[0], "memory 2"), ["memory 2"]);
    drop(running);
    let running = trial.start();
    let after = publish("after");
    assert!(!ids.contains(&after), "{after} is another event's");
    assert_eq!(heard(address, &ids[0], "after")[0], "stream-gap");
    // With room for it everything is written, with nothing published meanwhile.
    while !health() {
        publish(&"y".repeat(20_000));
    }
    publish("memory 3");
    assert!(health());
    fs::remove_file(ballast).unwrap();
    eventually(SOON, false, health);
    drop(running);
    let running = trial.start();
    publish("last");
    let heard = heard(address, &after, "last");
    let heard: Vec<&String> = heard.iter().filter(|data| !data.starts_with('y')).collect();
    assert_eq!(heard, ["memory 3", "last"]);
    drop(running);
}

#[test]
#[ignore = "needs root, to mount a disk"]
fn a_full_disk_refuses_events_until_there_is_room() {
    let disk = Disk::new("durable-full", 8);
    let ballast = disk.path().join("ballast");
    fs::write(&ballast, vec![1; 3 << 20]).unwrap();
    let trial = Trial::new(disk.path().join("history"), &[]);
    let running = trial.start();
    let address = trial.address();
    let healthy = || {
        let mut client = Client::connect(address);
        client.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        client.answer().status
    };
    assert_eq!(healthy(), 200);
    let mut accepted = vec!["first".to_owned()];
    let mut refused = 0;
    for number in 0.. {
        let data = format!("{number} {}", "x".repeat(20_000));
        match post(address, &data).unwrap() {
            (200, _) => accepted.push(data),
            (503, _) => refused += 1,
            other => panic!("{other:?}"),
        }
        // Some find room where others did not.
        if refused > 20 {
            break;
        }
    }
    assert!(accepted.len() > 50, "{} events", accepted.len());
    eventually(SOON, 503, || {
        post(address, &"y".repeat(500_000)).unwrap();
        healthy()
    });
    fs::remove_file(ballast).unwrap();
    // Without a publish: what routes requests sends none to a server that is not healthy.
    eventually(SOON, 200, healthy);
    for number in 0..50 {
        let data = format!("again {number} {}", "x".repeat(20_000));
        assert_eq!(post(address, &data).unwrap().0, 200);
        accepted.push(data);
    }
    assert_eq!(healthy(), 200);
    drop(running);
    let running = trial.start();
    let printed = Command::new(env!("CARGO_BIN_EXE_websse"))
        .arg("log")
        .arg(disk.path().join("history"))
        .output()
        .unwrap();
    let lines = String::from_utf8(printed.stdout).unwrap();
    let stored: Vec<String> = lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| line["data"].as_str().unwrap().to_owned())
        .filter(|data| !data.starts_with('y'))
        .collect();
    let refused = stored.iter().filter(|data| !accepted.contains(data)).count();
    assert!(refused <= 1, "{refused} events that were refused are there");
    let stored: Vec<&String> = stored.iter().filter(|data| accepted.contains(data)).collect();
    assert!(stored == accepted.iter().collect::<Vec<_>>(), "not what was accepted");
    drop(running);
}
