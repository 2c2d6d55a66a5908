//! Proxies as `examples/proxies` configures them, but for addresses.
use std::{
    env, fs,
    net::TcpListener,
    path::PathBuf,
    process::{self, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use support::{SOON, Scratch, eventually};

use super::{
    HOST,
    front::{Front, Process},
};

/// What stands for the hub in the configurations.
const HUB: &str = "127.0.0.1:8080";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Nginx,
    HaProxy,
    Caddy,
    Apache,
    Varnish,
    Lighttpd,
    Traefik,
    Envoy,
    Vite,
    Webpack,
}

/// Where `examples/proxies/run` has installed what is not of Debian.
fn installed() -> PathBuf {
    PathBuf::from(env::var_os("WEBSSE_PROXIES").expect("run examples/proxies/run"))
}

/// A program that came by pip.
pub(crate) fn pip(program: &str) -> String {
    installed().join("python/bin").join(program).to_str().unwrap().to_owned()
}

/// A script that came by npm.
fn npm(script: &str) -> String {
    installed().join("node/node_modules").join(script).to_str().unwrap().to_owned()
}

impl Kind {
    /// Such a proxy is for one programmer: it goes by `localhost`, and tells no addresses.
    pub(crate) fn is_for_development(self) -> bool {
        matches!(self, Kind::Vite | Kind::Webpack)
    }

    /// Whether clients see that a stream was cut; the others end it as if it were complete, as Debian's
    /// Caddy 2.6.2 does.
    pub(crate) fn passes_a_cut_on(self, program: &str) -> bool {
        match self {
            Kind::Nginx | Kind::Traefik | Kind::Envoy => true,
            Kind::Caddy => program != "caddy",
            _ => false,
        }
    }

    /// The status while the hub is away; 000 where it waits or closes the connection.
    pub(crate) fn while_the_hub_is_away(self, by_path: bool) -> &'static str {
        match self {
            Kind::HaProxy if !by_path => "000",
            Kind::Caddy | Kind::Traefik | Kind::Envoy => "000",
            Kind::Nginx | Kind::Vite => "502",
            Kind::HaProxy | Kind::Apache | Kind::Varnish | Kind::Lighttpd => "503",
            Kind::Webpack => "504",
        }
    }

    fn example(self) -> &'static str {
        match self {
            Kind::Nginx => include_str!("../../../examples/proxies/nginx.conf"),
            Kind::HaProxy => include_str!("../../../examples/proxies/haproxy.cfg"),
            Kind::Caddy => include_str!("../../../examples/proxies/Caddyfile"),
            Kind::Apache => include_str!("../../../examples/proxies/apache.conf"),
            Kind::Varnish => include_str!("../../../examples/proxies/varnish.vcl"),
            Kind::Lighttpd => include_str!("../../../examples/proxies/lighttpd.conf"),
            Kind::Traefik => include_str!("../../../examples/proxies/traefik-dynamic.yml"),
            Kind::Envoy => include_str!("../../../examples/proxies/envoy.yaml"),
            Kind::Vite => include_str!("../../../examples/proxies/vite.config.js"),
            Kind::Webpack => include_str!("../../../examples/proxies/webpack.config.js"),
        }
    }

    /// How the hub's address stands in the example.
    fn address(self, hub: &str) -> String {
        let Some((host, port)) = hub.split_once(':').filter(|_| !hub.contains('/')) else {
            return hub.to_owned();
        };
        match self {
            Kind::Varnish => format!(".host = \"{host}\";\n    .port = \"{port}\";"),
            Kind::Lighttpd => format!("\"host\" => \"{host}\", \"port\" => {port}"),
            Kind::Envoy => format!("{{ address: {host}, port_value: {port} }}"),
            _ => hub.to_owned(),
        }
    }

    /// The proxy's own address in the example, and what stands there instead; both empty where it is
    /// an argument.
    fn bind(self, port: u16) -> (&'static str, String) {
        let own = format!("127.0.0.1:{port}");
        match self {
            Kind::Nginx => ("listen 80;", format!("listen {own};")),
            Kind::HaProxy => ("bind :80\n", format!("bind {own}\n")),
            Kind::Caddy => ("hub.example {", format!("http://hub.example:{port} {{")),
            Kind::Apache => ("<VirtualHost *:80>", format!("<VirtualHost {own}>")),
            Kind::Envoy => (
                "{ address: 0.0.0.0, port_value: 80 }",
                format!("{{ address: 127.0.0.1, port_value: {port} }}"),
            ),
            Kind::Varnish | Kind::Lighttpd | Kind::Traefik | Kind::Vite | Kind::Webpack => {
                ("", String::new())
            }
        }
    }

    /// The example with what each installation has around it.
    fn whole(self, example: &str, here: &str, port: u16, admin: u16) -> String {
        match self {
            Kind::Nginx => {
                let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
                let paths = paths.map(|name| format!("{name}_temp_path {here}/{name};\n")).concat();
                let http = format!("access_log off;\n{paths}{example}");
                format!("daemon off;\npid {here}/pid;\nevents {{}}\nhttp {{\n{http}\n}}\n")
            }
            Kind::HaProxy => {
                let bind = format!("bind 127.0.0.1:{admin}");
                format!("{example}\nlisten admin\n    {bind}\n    stats enable\n    stats uri /\n")
            }
            Kind::Caddy => {
                format!("{{\n\tadmin off\n\tdefault_bind 127.0.0.1\n}}\n{example}")
            }
            Kind::Apache => {
                let modules =
                    ["mpm_event", "authz_core", "proxy", "proxy_http", "headers"].map(|name| {
                        format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n")
                    });
                let own = format!("ServerRoot {here}\nServerName localhost\nPidFile {here}/pid\n");
                let user = "User www-data\nGroup www-data\nErrorLog /dev/stderr\n";
                let listen = format!("Listen 127.0.0.1:{port}\n");
                format!("{}{own}{user}{listen}{example}", modules.concat())
            }
            Kind::Lighttpd => format!(
                "server.document-root = \"{here}\"\nserver.bind = \"127.0.0.1\"\n\
                 server.port = {port}\n{example}"
            ),
            Kind::Envoy => format!(
                "{example}admin:\n  address:\n    socket_address: \
                 {{ address: 127.0.0.1, port_value: {admin} }}\n"
            ),
            Kind::Varnish | Kind::Traefik | Kind::Vite | Kind::Webpack => example.to_owned(),
        }
    }

    /// What follows the program, but for the file's name, which comes last.
    fn arguments(self, here: &str, port: u16) -> Vec<String> {
        let port = port.to_string();
        let own = format!("127.0.0.1:{port}");
        let entry = format!("--entrypoints.web.address={own}");
        let script = match self {
            Kind::Vite => npm("vite/bin/vite.js"),
            Kind::Webpack => npm("webpack-cli/bin/cli.js"),
            _ => String::new(),
        };
        let arguments: &[&str] = match self {
            Kind::Nginx => &["-e", "stderr", "-c"],
            Kind::HaProxy => &["-db", "-f"],
            Kind::Caddy => &["run", "--adapter", "caddyfile", "--config"],
            Kind::Apache => &["-D", "FOREGROUND", "-f"],
            Kind::Varnish => {
                &["-F", "-j", "none", "-n", here, "-a", &own, "-s", "malloc,16m", "-f"]
            }
            Kind::Lighttpd => &["-D", "-f"],
            Kind::Traefik => &[&entry, "--providers.file.filename"],
            Kind::Envoy => &["--use-dynamic-base-id", "--concurrency", "2", "-l", "warning", "-c"],
            Kind::Vite => {
                &[&script, "--host", "127.0.0.1", "--port", &port, "--strictPort", "--config"]
            }
            Kind::Webpack => &[
                &script,
                "serve",
                "--host",
                "127.0.0.1",
                "--port",
                &port,
                "--mode",
                "development",
                "--entry",
                "./page.js",
                "--config",
            ],
        };
        arguments.iter().map(|argument| (*argument).to_owned()).collect()
    }
}

/// Held while a server for development starts, which keeps a processor busy.
static STARTING: Mutex<()> = Mutex::new(());

/// A directory of its own.
pub(crate) fn scratch() -> Scratch {
    static MADE: AtomicU32 = AtomicU32::new(0);
    Scratch::new(&format!("proxies-{}", MADE.fetch_add(1, Ordering::Relaxed)))
}

/// A port that no other proxy of this process gets, nor a client: those get higher ones by themselves.
fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    loop {
        let next = process::id() * 61 + TAKEN.fetch_add(1, Ordering::Relaxed);
        let port = 10_000 + u16::try_from(next % 20_000).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A proxy that runs.
pub(crate) struct Proxy {
    kind: Kind,
    pub(crate) front: Front,
    /// Where it tells of itself, if it does.
    admin: Front,
    /// Ended before its directory goes.
    _process: Process,
    _directory: Scratch,
}

impl Proxy {
    /// Before a hub, as its example says but for addresses and those `edits`.
    pub(crate) fn start(kind: Kind, program: &str, hub: &str, edits: &[(&str, &str)]) -> Proxy {
        let (port, admin) = (free_port(), free_port());
        let scratch = scratch();
        let directory = &scratch.0;
        let here = directory.to_str().unwrap();
        let (bind, own) = kind.bind(port);
        let address = (kind.address(HUB), kind.address(hub));
        let mut example = kind.example().to_owned();
        for (old, new) in [(bind, &*own), (&*address.0, &*address.1)].iter().chain(edits) {
            assert!(example.contains(old), "{old} is not in the example");
            if !old.is_empty() {
                example = example.replace(old, new);
            }
        }

        // Some know by the name what is in it.
        let file = directory.join(match kind {
            Kind::Traefik => "traefik-dynamic.yml",
            Kind::Envoy => "envoy.yaml",
            Kind::Vite => "vite.config.mjs",
            Kind::Webpack => "webpack.config.cjs",
            _ => "configuration",
        });
        fs::write(&file, kind.whole(&example, here, port, admin)).unwrap();
        if kind.is_for_development() {
            fs::write(directory.join("page.js"), "").unwrap();
            fs::write(directory.join("index.html"), "").unwrap();
        }
        let mut command = Command::new(program);
        let mut arguments = kind.arguments(here, port);
        if kind == Kind::Traefik {
            let last = arguments.last_mut().unwrap();
            *last = format!("{last}={}", file.display());
        } else {
            arguments.push(file.to_str().unwrap().to_owned());
        }
        let log = directory.join("log");
        let file = fs::File::create(&log).unwrap();
        command.args(arguments).current_dir(directory).stdin(Stdio::null());
        command.stdout(file.try_clone().unwrap()).stderr(file);
        command.env("XDG_DATA_HOME", directory).env("XDG_CONFIG_HOME", directory);
        // Also after a test that failed while it held it.
        let _alone = kind.is_for_development().then(|| STARTING.lock());
        let mut process = Process(command.spawn().expect("the proxy is installed"));
        let host =
            if kind.is_for_development() { format!("localhost:{port}") } else { HOST.to_owned() };
        let front = Front { port, host };
        let admin = Front { port: admin, host: HOST.to_owned() };
        eventually(12 * SOON, true, || {
            let log = fs::read_to_string(&log).unwrap();
            assert_eq!(process.0.try_wait().unwrap(), None, "it has ended: {log}");
            let status = front.status(&["/healthz", "--no-show-error", "--max-time", "5"]);
            // Both are the hub's.
            ["200", "403"].contains(&&*status)
        });
        Proxy { kind, front, admin, _process: process, _directory: scratch }
    }

    /// Whether its check finds the hub in good health.
    #[track_caller]
    pub(crate) fn is_healthy(&self) -> bool {
        let (path, bad) = match self.kind {
            Kind::HaProxy => ("/;csv", ",DOWN,"),
            Kind::Envoy => ("/clusters", "failed_active_hc"),
            other => panic!("{other:?} has no check"),
        };
        let told = self.admin.curl("127.0.0.1", &[path]).rest();
        let line =
            |line: &&str| line.starts_with("websse,websse,") || line.contains("::health_flags::");
        let line =
            told.lines().find(line).unwrap_or_else(|| panic!("nothing of the hub in {told}"));
        !line.contains(bad)
    }
}
