//! `HAProxy` leads to the primary, by the configuration that is given as an example.

use std::{
    env, fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use super::{store::free_port, takeover::replica_of, *};

struct HaProxy {
    child: Child,
    file: std::path::PathBuf,
    port: u16,
}

impl HaProxy {
    fn to(servers: [&Store; 2]) -> Self {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/proxies");
        let mut config = fs::read_to_string(example.join("haproxy-redis.cfg")).unwrap();
        let port = free_port();
        for (from, to) in [("bind :6379", port), ("10.0.0.5:6379", servers[0].port)]
            .into_iter()
            .chain([("10.0.0.6:6379", servers[1].port)])
        {
            assert!(config.contains(from), "{from}");
            let to = if from.starts_with("bind") { "bind 127.0.0.1:" } else { "127.0.0.1:" }
                .to_owned()
                + &to.to_string();
            config = config.replace(from, &to);
        }
        let file = env::temp_dir().join(format!("websse-haproxy-{}.cfg", std::process::id()));
        fs::write(&file, config).unwrap();
        let mut haproxy = Command::new("haproxy");
        haproxy.args(["-q", "-db", "-f"]).arg(&file);
        let child = haproxy.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Self { child, file, port }
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.file);
    }
}

#[test]
#[ignore = "needs redis-server and haproxy"]
fn the_role_check_of_the_example_leads_to_the_primary() {
    let mut old = Store::durable();
    let new = replica_of(old.port);
    // The replica comes first: it is passed over as long as it is one.
    let haproxy = HaProxy::to([&new, &old]);
    let config = RedisConfig::new(&format!("redis://127.0.0.1:{}", haproxy.port)).unwrap();
    let hub = Hub::with(&[""], |builder| builder.redis(config), |http| http);
    eventually(BACK, true, || hub.server.publish(Message::new("1")).is_ok());
    let mut client = hub.listen("?replay=1");
    assert_eq!(data(&mut client, 1), ["1"]);
    assert_eq!(old.run("XLEN websse"), Value::Int(1));
    eventually(BACK, Value::Int(1), || new.run("XLEN websse"));
    old.kill();
    new.run("REPLICAOF NO ONE");
    eventually(BACK, true, || hub.server.publish(Message::new("2")).is_ok());
    assert_gap_before(&mut client, "2");
    // It says that it is the primary, and gets nothing.
    old.start();
    for number in 0..20 {
        hub.publish(Message::new(number.to_string()));
    }
    assert_eq!(old.run("XLEN websse"), Value::Int(1));
}
