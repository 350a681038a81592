//! Named hosts: what was granted is reached by real clients, whether or not they know proxies, and
//! nothing else is; in a small internet of the test's own (`stage`).

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
};

use plugbay_tests::{Setting, TestEnv, command};

const HOSTS: &str = "127.0.0.1 localhost\n\
    93.184.216.34 allowed.example deep.below.example\n\
    93.184.216.35 other.example\n\
    127.0.0.1 rebound.example\n\
    10.0.0.1 inside.example\n";

/// A small internet, and the commands that run in it.
struct Net<'e> {
    env: &'e TestEnv,
    setting: Setting,
    directory: PathBuf,
}

struct Ran {
    passed: bool,
    output: String,
    said: String,
}

impl<'e> Net<'e> {
    /// `None`, and why, where this user can make none.
    fn new(env: &'e TestEnv, setting: Setting) -> Option<Self> {
        let directory = env.directory(&format!("www-{}", setting.keeper_name()), 0);
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
        fs::write(directory.join("index.html"), "hello\n").unwrap();
        fs::write(directory.join("hosts"), HOSTS).unwrap();
        let net = Self { env, setting, directory };
        if net.staged(&["/bin/true"], &[]).passed {
            return Some(net);
        }
        assert!(std::env::var_os("REQUIRE_LAYERS").is_none(), "no namespaces for a small internet");
        println!("skipped ({}): no namespaces for a small internet", setting.name());
        None
    }

    fn staged(&self, program: &[&str], words: &[&str]) -> Ran {
        let mut staged = command(&self.env.binaries().path("stage"));
        staged.arg(self.directory.join("hosts")).arg(&self.directory).arg("--");
        let path = std::env::var_os("PATH").unwrap_or_default();
        staged.args(program).args(words).env("PATH", path).env("HOME", "/tmp");
        staged.env("PLUGBAY_STATE", self.directory.join("state"));
        let output = staged.stdin(Stdio::null()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (output, passed) =
            ((text(&output.stdout), text(&output.stderr)), output.status.success());
        Ran { passed, output: output.0, said: output.1 }
    }

    /// A command by `plugbay run`, with these flags.
    fn run(&self, flags: &[&str], words: &[&str]) -> Ran {
        let rung = self.env.binaries().path("rung").display().to_string();
        let plugbay = self.env.binaries().path("plugbay").display().to_string();
        let options = self.setting.rung_options();
        let mut program = vec![rung.as_str()];
        program.extend(options.iter().map(String::as_str));
        program.extend(["--", &plugbay, "plugbay", "run"]);
        program.extend(flags);
        program.push("--");
        self.staged(&program, words)
    }

    /// The same command without a sandbox, as the positive control.
    fn control(&self, words: &[&str]) -> Ran {
        self.staged(&[], words)
    }

    fn heard(&self, host: u8) -> bool {
        fs::remove_file(self.directory.join(format!("heard-{host}"))).is_ok()
    }
}

fn each(test: impl Fn(&Net<'_>)) {
    among(&Setting::possible(), test);
}

/// In one setting with namespaces and in one without: for clients that take long.
fn both(test: impl Fn(&Net<'_>)) {
    let possible = Setting::possible();
    let one = |with| possible.iter().copied().find(|it| it.may_have_namespaces() == with);
    among(&[one(true), one(false)].into_iter().flatten().collect::<Vec<_>>(), test);
}

fn among(settings: &[Setting], test: impl Fn(&Net<'_>)) {
    let env = crate::env();
    for setting in settings.iter().copied() {
        if let Some(net) = Net::new(&env, setting) {
            test(&net);
        }
    }
}

/// Whether a program is here and works unsealed; else says that it is skipped.
fn has(net: &Net<'_>, words: &[&str]) -> bool {
    let works = net.control(words).passed;
    if !works {
        println!("skipped: `{}` does not work here", words.join(" "));
    }
    works
}

const ALLOWED: &[&str] = &["--net", "allowed.example:80"];

#[test]
fn a_granted_host_is_reached_by_every_way_that_a_client_may_take() {
    each(|net| {
        let curl = |words: &[&'static str]| {
            [&["curl", "-sSf", "http://allowed.example/"][..], words].concat()
        };
        if !has(net, &curl(&[])) {
            return;
        }
        let mut ways: Vec<&[&'static str]> = vec![&[], &["-p"]];
        if net.setting.may_have_namespaces() {
            ways.push(&["--noproxy", "*"]);
            ways.push(&["--socks5-hostname", "127.0.0.1:3128"]);
        }
        for way in ways {
            let ran = net.run(ALLOWED, &curl(way));
            let name = net.setting.name();
            assert!(ran.passed && ran.output == "hello\n", "{name}, {way:?}: {}", ran.said);
        }
    });
}

#[test]
fn what_was_not_granted_is_refused_and_its_fix_makes_the_run_pass() {
    each(|net| {
        let curl = ["curl", "-sSf", "http://other.example/"];
        if !has(net, &curl) {
            return;
        }
        let refused = net.run(ALLOWED, &curl);
        let fix = "--net other.example:80";
        assert!(!refused.passed && refused.said.contains(fix), "{}", refused.said);
        let flags = [ALLOWED, &["--net", "other.example:80"]].concat();
        assert_eq!(net.run(&flags, &curl).output, "hello\n");
    });
}

#[test]
fn nothing_special_is_reached_by_name_number_or_another_spelling() {
    each(|net| {
        let curl = |url: &str| {
            [["curl", "-sSf", "-m", "60"].map(str::to_owned).to_vec(), vec![url.to_owned()]]
                .concat()
        };
        for url in [
            "http://localhost/",
            "http://127.0.0.1/",
            "http://rebound.example/",
            "http://0x7f000001/",
            "http://2130706433/",
            "http://127.1/",
            "http://[::ffff:127.0.0.1]/",
            "http://0.0.0.0/",
        ] {
            let words = curl(url);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            if !has(net, &words) {
                continue;
            }
            // To the broker, whatever the client thinks of its own loopback.
            let asked = [&words[..], &["--noproxy", ""]].concat();
            let wide = ["--net", "*:80", "--net", "rebound.example:80"];
            for ran in [net.run(&wide, &asked), net.run(&wide, &words)] {
                assert!(!ran.passed && ran.output.is_empty(), "{}: {url}", net.setting.name());
            }
        }
        let metadata = net.run(&["--net", "*:80"], &["curl", "-sSf", "http://169.254.169.254/"]);
        assert!(!metadata.passed && metadata.said.contains("link-local"), "{}", metadata.said);
        let inside = net.run(&["--net", "*:80"], &["curl", "-sSf", "http://inside.example/"]);
        assert!(inside.said.contains("--net 10.0.0.1:80"), "{}", inside.said);
    });
}

#[test]
fn tls_through_a_tunnel_must_be_for_the_host_of_the_tunnel() {
    each(|net| {
        let to = ["--connect-to", "other.example:443:allowed.example:443"];
        let (own, other) = ("https://allowed.example/", "https://other.example/");
        let curl = |url| ["curl", "-sSk", "-m", "60", url];
        net.control(&[&curl(other)[..], &to].concat());
        if !net.heard(34) {
            println!("skipped: no curl with TLS here");
            return;
        }
        let granted = ["--net", "allowed.example:443"];
        net.run(&granted, &curl(own));
        assert!(net.heard(34), "the host's own name goes through");
        let ran = net.run(&granted, &[&curl(other)[..], &to].concat());
        assert!(!net.heard(34), "{}", ran.said);
        assert!(ran.said.contains("TLS asks for other.example"), "{}", ran.said);
    });
}

#[test]
fn no_question_for_a_name_leaves_and_no_record_but_addresses_is_given() {
    each(|net| {
        if !net.setting.may_have_namespaces() {
            return;
        }
        let script = "import socket, struct\n\
            def ask(name, kind):\n\
            \x20   labels = b''.join(bytes([len(p)]) + p.encode() for p in name.split('.'))\n\
            \x20   question = b'\\x07\\x07\\x01\\0\\0\\x01\\0\\0\\0\\0\\0\\0' + labels + b'\\0' + struct.pack('!HH', kind, 1)\n\
            \x20   with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:\n\
            \x20       asker.settimeout(60)\n\
            \x20       asker.connect(('8.8.8.8', 53))\n\
            \x20       asker.send(question)\n\
            \x20       return asker.recv(512)[3] & 15\n\
            print(ask('allowed.example', 1), ask('allowed.example', 16), ask('secret.evil.tld', 1))\n";
        if has(net, &["python3", "-c", "pass"]) {
            let ran = net.run(ALLOWED, &["python3", "-c", script]);
            assert_eq!(ran.output.trim(), "0 5 3", "{}", ran.said);
        }
    });
}

#[test]
fn an_own_server_inside_is_reached_although_a_proxy_is_named() {
    each(|net| {
        if !net.setting.may_have_namespaces() || !has(net, &["python3", "-c", "pass"]) {
            return;
        }
        let script = "import http.server, threading, urllib.request\n\
            server = http.server.HTTPServer(('127.0.0.1', 0), http.server.SimpleHTTPRequestHandler)\n\
            threading.Thread(target=server.serve_forever, daemon=True).start()\n\
            print(urllib.request.urlopen(f'http://127.0.0.1:{server.server_port}/').status)\n";
        let ran = net.run(ALLOWED, &["python3", "-c", script]);
        assert_eq!(ran.output.trim(), "200", "{}", ran.said);
    });
}

/// Makes a repository of git that a plain server can give out.
fn repository(net: &Net<'_>) -> bool {
    let place = net.directory.join("words.git").display().to_string();
    let script = format!(
        "set -e; rm -rf {place} {place}.work; git init -q {place}.work; cd {place}.work; echo one > file; \
         git add file; git -c user.name=a -c user.email=a@a.example commit -qm one; \
         git clone -q --bare . {place}; cd {place}; git update-server-info; chmod -R a+rX {place}"
    );
    net.control(&["sh", "-c", &script]).passed
}

#[test]
fn git_clones_from_a_granted_host_and_from_no_other() {
    both(|net| {
        let clone = |host: &str| {
            format!(
                "d=${{TMPDIR:-/tmp}}/git-$$; git clone -q http://{host}/words.git $d && cat $d/file; code=$?; rm -rf $d; exit $code"
            )
        };
        let (own, other) = (clone("allowed.example"), clone("other.example"));
        if !repository(net) || !has(net, &["sh", "-c", &other]) {
            return println!("skipped: no git here");
        }
        let ran = net.run(ALLOWED, &["sh", "-c", &own]);
        assert_eq!(ran.output, "one\n", "{}: {}", net.setting.name(), ran.said);
        let ran = net.run(ALLOWED, &["sh", "-c", &other]);
        assert!(!ran.passed && ran.said.contains("--net other.example:80"), "{}", ran.said);
    });
}

/// The smallest wheel there is, with the index that pip looks it up in.
fn wheel(net: &Net<'_>) {
    let place = net.directory.join("simple/words");
    fs::create_dir_all(&place).unwrap();
    let index = "<a href=\"words-1.0-py3-none-any.whl\">words-1.0-py3-none-any.whl</a>";
    fs::write(place.join("index.html"), index).unwrap();
    let script = "import sys, zipfile\n\
        with zipfile.ZipFile(sys.argv[1], 'w') as wheel:\n\
        \x20   info = 'words-1.0.dist-info/'\n\
        \x20   wheel.writestr('words.py', 'text = 1\\n')\n\
        \x20   wheel.writestr(info + 'METADATA', 'Metadata-Version: 2.1\\nName: words\\nVersion: 1.0\\n')\n\
        \x20   wheel.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n\
        \x20   wheel.writestr(info + 'RECORD', 'words.py,,\\n')\n";
    let file = place.join("words-1.0-py3-none-any.whl").display().to_string();
    net.control(&["python3", "-c", script, &file]);
}

#[test]
fn pip_installs_from_a_granted_host_and_from_no_other() {
    both(|net| {
        wheel(net);
        let install = |host: &str| {
            format!(
                "d=${{TMPDIR:-/tmp}}/pip-$$; python3 -m pip --isolated install -q --no-cache-dir --disable-pip-version-check \
                 --retries 0 --root-user-action ignore --trusted-host {host} -i http://{host}/simple --target $d words \
                 && cat $d/words.py; code=$?; rm -rf $d; exit $code"
            )
        };
        let (own, other) = (install("allowed.example"), install("other.example"));
        if !has(net, &["sh", "-c", &other]) {
            return;
        }
        // It wants to know which Debian this is, and cannot bear to be refused.
        let told = Path::new("/etc/debian_version");
        let told: &[&str] = if told.exists() { &["--read", "/etc/debian_version"] } else { &[] };
        let ran = net.run(&[ALLOWED, told].concat(), &["sh", "-c", &own]);
        assert_eq!(ran.output, "text = 1\n", "{}: {}", net.setting.name(), ran.said);
        let ran = net.run(&[ALLOWED, told].concat(), &["sh", "-c", &other]);
        assert!(!ran.passed && ran.said.contains("--net other.example:80"), "{}", ran.said);
    });
}

/// A package of npm, and what a registry says of it.
fn package(net: &Net<'_>) -> bool {
    let place = net.directory.display().to_string();
    let script = format!(
        "set -e; cd {place}; rm -rf package; mkdir package; \
         echo '{{\"name\":\"words\",\"version\":\"1.0.0\"}}' > package/package.json; \
         tar czf words-1.0.0.tgz package; rm -rf package"
    );
    let said = "{\"name\":\"words\",\"dist-tags\":{\"latest\":\"1.0.0\"},\"versions\":{\"1.0.0\":{\
        \"name\":\"words\",\"version\":\"1.0.0\",\"dist\":{\"tarball\":\"http://HOST/words-1.0.0.tgz\"}}}}";
    for host in ["allowed.example", "other.example"] {
        let registry = net.directory.join(host);
        fs::create_dir_all(&registry).unwrap();
        fs::write(registry.join("words"), said.replace("HOST", host)).unwrap();
    }
    net.control(&["sh", "-c", &script]).passed
}

#[test]
fn npm_installs_from_a_granted_host_and_from_no_other() {
    both(|net| {
        let install = |host: &str| {
            format!(
                "d=${{TMPDIR:-/tmp}}/npm-$$; mkdir -p $d/home; cd $d; HOME=$d/home npm install --silent --no-audit --no-fund \
                 --fetch-retries 0 --cache $d/cache --registry http://{host}/{host}/ words \
                 && cat node_modules/words/package.json; code=$?; cd /; rm -rf $d; exit $code"
            )
        };
        let (own, other) = (install("allowed.example"), install("other.example"));
        if !package(net) || !has(net, &["sh", "-c", &other]) {
            return;
        }
        let ran = net.run(ALLOWED, &["sh", "-c", &own]);
        assert!(ran.output.contains("words"), "{}: {}", net.setting.name(), ran.said);
        let ran = net.run(ALLOWED, &["sh", "-c", &other]);
        assert!(!ran.passed && ran.said.contains("--net other.example:80"), "{}", ran.said);
    });
}

/// A plugin that fetches an address, with the proxy it was given or without.
fn plugin(at: &Path) {
    fs::create_dir_all(at).unwrap();
    let manifest = "[plugin]\nname = \"fetcher\"\nversion = \"1.0.0\"\ntype = \"test\"\n\
        [runtime]\ncommand = [\"python3\", \"main.py\"]\nsdk = \"python\"\n\
        [permissions]\nhosts = [\"allowed.example:80\"]\n[methods.fetch]\n";
    fs::write(at.join("plugin.toml"), manifest).unwrap();
    let main = "import urllib.request\nfrom plugbay import Plugin\n\
        plugin = Plugin(\"fetcher\", \"1.0.0\")\n@plugin.method\n\
        def fetch(url: str, proxy: bool) -> str:\n\
        \x20   ways = [] if proxy else [urllib.request.ProxyHandler({})]\n\
        \x20   try:\n        return urllib.request.build_opener(*ways).open(url, timeout=30).read().decode()\n\
        \x20   except OSError as error:\n        return type(error).__name__\n\
        plugin.run()\n";
    fs::write(at.join("main.py"), main).unwrap();
}

#[test]
fn a_plugin_reaches_the_hosts_of_its_manifest_and_no_other() {
    each(|net| {
        let at = net.directory.join("fetcher");
        plugin(&at);
        if !net.setting.may_have_namespaces() || !has(net, &["python3", "-c", "pass"]) {
            return;
        }
        let rung = net.env.binaries().path("rung").display().to_string();
        let plugbay = net.env.binaries().path("plugbay").display().to_string();
        let options = net.setting.rung_options();
        let plugbay = |words: &[&str]| {
            let mut program = vec![rung.as_str()];
            program.extend(options.iter().map(String::as_str));
            program.extend(["--", &plugbay, "plugbay"]);
            net.staged(&program, words)
        };
        let at = at.display().to_string();
        for proxy in [true, false] {
            let params = format!("{{\"url\": \"http://allowed.example/\", \"proxy\": {proxy}}}");
            let ran = plugbay(&["call", &at, "fetch", &params]);
            assert_eq!(ran.output.trim(), "\"hello\\n\"", "{}: {}", net.setting.name(), ran.said);
        }
        let refused = "{\"url\": \"http://other.example/\", \"proxy\": true}";
        assert_eq!(plugbay(&["call", &at, "fetch", refused]).output.trim(), "\"HTTPError\"");
        let kept = plugbay(&["history", "fetcher", "--of", "ends", "--json"]).output;
        assert!(kept.contains("[permissions] hosts = [\\\"other.example:80\\\"]"), "{kept}");
    });
}
