//! `openssl s_client`, which can be told to speak what no other client would.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use support::{Hub, Scratch, authority::Authority};

use super::hub;

/// What it says of a connection, over which it sends a text.
fn s_client(hub: &Hub, ca: &Path, arguments: &[&str], sent: &str) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &hub.addr().to_string(), "-servername", "localhost"]);
    command.arg("-CAfile").arg(ca).arg("-verify_return_error").args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // It may have ended for want of a session. At the end of its input it would end by itself.
    let _ = stdin.write_all(sent.as_bytes());
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

/// Over a connection with commands its letters have no meaning.
const LAST: &str = "GET /nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[test]
#[ignore = "needs openssl"]
fn openssl_sees_two_versions_good_suites_no_compression_and_no_renegotiation() {
    let scratch = Scratch::new("tls-openssl");
    let authority = Authority::new("tests");
    let hub = hub(authority.issue(&["localhost"]).server(&scratch.0));
    let ca = scratch.0.join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let ask = |arguments: &[&str], sent: &str| s_client(&hub, &ca, arguments, sent);

    for (arguments, version) in [(&["-tls1_2"][..], "TLSv1.2"), (&["-tls1_3"], "TLSv1.3")] {
        let arguments = [arguments, &["-alpn", "h2,http/1.1"]].concat();
        let seen = ask(&arguments, LAST);
        for expected in [
            version,
            "Verify return code: 0 (ok)",
            "ALPN protocol: http/1.1",
            "Compression: NONE",
            "HTTP/1.1 404 ",
        ] {
            assert!(seen.contains(expected), "{version}, expected {expected:?} in {seen}");
        }
        // An end without `close_notify` would be told of.
        assert!(!seen.contains("unexpected eof"), "{seen}");
    }
    let seen = ask(&["-tls1_2", "-comp"], LAST);
    assert!(seen.contains("Compression: NONE") && seen.contains("HTTP/1.1 404 "), "{seen}");
    let seen = ask(&["-tls1_2"], LAST);
    assert!(seen.contains("Secure Renegotiation IS supported"), "{seen}");
    assert!(seen.contains("Extended master secret: yes"), "{seen}");

    // Old versions, and suites without forward secrecy or authentication.
    let all = "ALL:COMPLEMENTOFALL:@SECLEVEL=0";
    for arguments in [
        &["-tls1", "-cipher", all][..],
        &["-tls1_1", "-cipher", all],
        &["-tls1_2", "-cipher", "kRSA:@SECLEVEL=0"],
        &["-tls1_2", "-cipher", "DHE:@SECLEVEL=0"],
        &["-tls1_2", "-cipher", "aNULL:eNULL:@SECLEVEL=0"],
        &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA:@SECLEVEL=0"],
        &["-alpn", "h2"],
    ] {
        let seen = ask(arguments, LAST);
        assert!(seen.contains("alert") && !seen.contains("HTTP/1.1"), "{arguments:?}: {seen}");
    }

    // `R` asks for another handshake, `K` and `k` for new keys.
    let seen = ask(&["-tls1_2"], "R\n");
    let refused = seen.contains("RENEGOTIATING") && seen.to_lowercase().contains("renegotiation");
    assert!(refused && !seen.contains("HTTP/1.1 404 "), "{seen}");
    super::assert_serves(&hub, &authority);
}
