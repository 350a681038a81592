//! Paths that hold secrets, by the names under which programs keep them. Never granted by what was
//! only watched: whoever means it grants them by hand.
//!
//! A list of well-known names, no proof: a secret in a file of another name is not known as one. Pure.

use std::path::Path;

/// Directories of secrets, by the end of their path.
const DIRECTORIES: [(&str, &str); 24] = [
    (".ssh", "SSH keys"),
    (".gnupg", "GnuPG keys"),
    (".aws", "cloud credentials"),
    (".azure", "cloud credentials"),
    (".config/gcloud", "cloud credentials"),
    (".config/doctl", "cloud credentials"),
    (".kube", "cluster credentials"),
    (".docker", "registry credentials"),
    (".config/gh", "a token"),
    (".config/hub", "a token"),
    (".config/glab-cli", "a token"),
    (".password-store", "passwords"),
    (".local/share/keyrings", "a keyring"),
    (".config/sops", "keys"),
    (".terraform.d", "a token"),
    (".mozilla", "a browser's profile"),
    (".config/google-chrome", "a browser's profile"),
    (".config/chromium", "a browser's profile"),
    (".vault-token", "a token"),
    ("etc/ssl/private", "private keys"),
    ("etc/pki/tls/private", "private keys"),
    ("etc/ssh", "host keys"),
    ("etc/sudoers.d", "rights of users"),
    ("var/spool/cron", "other users' jobs"),
];

/// Files of secrets, by name.
const FILES: [(&str, &str); 31] = [
    (".netrc", "passwords"),
    (".git-credentials", "passwords"),
    (".npmrc", "a token"),
    (".yarnrc.yml", "a token"),
    (".pypirc", "a token"),
    (".pgpass", "passwords"),
    (".my.cnf", "passwords"),
    (".htpasswd", "passwords"),
    (".env", "settings that are mostly secret"),
    (".env.local", "settings that are mostly secret"),
    (".env.production", "settings that are mostly secret"),
    (".envrc", "settings that are mostly secret"),
    (".bash_history", "a shell's history"),
    (".zsh_history", "a shell's history"),
    (".python_history", "a shell's history"),
    (".psql_history", "a shell's history"),
    (".node_repl_history", "a shell's history"),
    (".lesshst", "a pager's history"),
    (".Xauthority", "access to a display"),
    (".ICEauthority", "access to a session"),
    ("credentials.toml", "a token"),
    (".rhosts", "trusted hosts"),
    ("id_rsa", "an SSH key"),
    ("id_ecdsa", "an SSH key"),
    ("id_ed25519", "an SSH key"),
    ("shadow", "password hashes"),
    ("shadow-", "password hashes"),
    ("gshadow", "password hashes"),
    ("gshadow-", "password hashes"),
    ("sudoers", "rights of users"),
    ("krb5.keytab", "a key"),
];

/// Names of unix sockets behind which somebody does what a process may not do itself.
const SOCKETS: [(&str, &str); 10] = [
    ("docker.sock", "the container engine: whoever reaches it is root"),
    ("podman.sock", "the container engine"),
    ("containerd.sock", "the container engine"),
    ("crio.sock", "the container engine"),
    ("system_bus_socket", "the system bus"),
    ("S.gpg-agent", "the GnuPG agent"),
    ("S.gpg-agent.ssh", "the SSH agent"),
    ("S.gpg-agent.extra", "the GnuPG agent"),
    ("agent.sock", "a key agent"),
    ("control.sock", "a supervisor's control socket"),
];

/// Ends of names of private keys. Certificates end in `.pem` too, so that alone says nothing.
const KEYS: [&str; 6] = ["key.pem", ".key", ".p12", ".pfx", ".kdbx", ".keystore"];

/// Why a path holds a secret; `None` when it is not known to.
#[must_use]
pub fn secret(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.to_str()?;
    let above = || path.ancestors();
    let directory = DIRECTORIES.iter().find(|(end, _)| above().any(|at| at.ends_with(end)));
    let file = || FILES.iter().find(|(file, _)| name == *file && !is_public(path, file));
    let found = directory.or_else(file).map(|(_, why)| *why);
    found.or_else(|| KEYS.iter().any(|end| name.ends_with(end)).then_some("a private key"))
}

/// Why the unix socket at a path is as good as a secret.
#[must_use]
pub fn secret_socket(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.to_str()?;
    let known = SOCKETS.iter().find(|(socket, _)| name == *socket).map(|(_, why)| *why);
    let agent =
        || (name.starts_with("agent.") || path.ends_with("keyring/ssh")).then_some("the SSH agent");
    let bus = || (name == "bus" && path.starts_with("/run/user")).then_some("the session bus");
    known.or_else(agent).or_else(bus).or_else(|| secret(path))
}

/// Names that mean something only in their place.
fn is_public(path: &Path, name: &str) -> bool {
    let in_etc = path.parent() == Some(Path::new("/etc"));
    matches!(name, "shadow" | "shadow-" | "gshadow" | "gshadow-" | "sudoers") && !in_etc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tokens_and_histories_are_known_wherever_they_lie() {
        for path in [
            "/home/ann/.ssh",
            "/home/ann/.ssh/config",
            "/root/.aws/credentials",
            "/home/ann/.config/gh/hosts.yml",
            "/home/ann/.netrc",
            "/srv/app/.env",
            "/srv/app/server.key",
            "/srv/app/privkey.pem",
            "/home/ann/.cargo/credentials.toml",
            "/etc/shadow",
            "/etc/ssl/private/x",
        ] {
            assert!(secret(Path::new(path)).is_some(), "{path}");
        }
    }

    #[test]
    fn ordinary_files_are_none() {
        for path in [
            "/",
            "/home/ann/.config/git/config",
            "/home/ann/project/src/shadow",
            "/srv/app/environment",
            "/home/ann/.sshrc",
            "/etc/ssl/certs/ca-certificates.crt",
            "/srv/venv/certifi/cacert.pem",
        ] {
            assert_eq!(secret(Path::new(path)), None, "{path}");
        }
    }

    #[test]
    fn sockets_that_act_for_others_are_known() {
        for path in ["/run/docker.sock", "/tmp/ssh-x/agent.12", "/run/user/1000/bus"] {
            assert!(secret_socket(Path::new(path)).is_some(), "{path}");
        }
        assert_eq!(secret_socket(Path::new("/run/postgresql/.s.PGSQL.5432")), None);
    }
}
