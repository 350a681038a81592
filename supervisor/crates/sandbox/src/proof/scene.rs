//! What is put up for the canary: a secret, a readable directory, listeners. All of it is
//! open to everybody by its mode, so that only the sandbox can be what refuses; all of it goes away
//! with the [`Stage`].

use std::{
    env, fs, io,
    net::{Ipv4Addr, TcpListener},
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            fs::PermissionsExt as _,
            net::{SocketAddr, UnixListener},
        },
    },
    path::{Path, PathBuf},
};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::claim::Scene;

/// A scene, and what keeps it standing.
#[derive(Debug)]
pub struct Stage {
    /// Where everything is.
    pub scene: Scene,
    directory: PathBuf,
    _tcp: [TcpListener; 2],
    _unix: [UnixListener; 2],
    /// Open without close-on-exec, as a careless program would leave it.
    _leaked: fs::File,
}

impl Stage {
    /// Puts everything up.
    pub fn set() -> io::Result<Self> {
        let directory = directory()?;
        let built = Self::build(&directory);
        if built.is_err() {
            drop(fs::remove_dir_all(&directory));
        }
        built
    }

    fn build(directory: &Path) -> io::Result<Self> {
        let own = std::process::id();
        let secret = file(directory.join("secret"))?;
        let readable = open(directory.join("readable"))?;
        file(readable.join("file"))?;
        let socket = directory.join("socket");
        let abstract_name = format!("plugbay-canary-{own}");
        let unix = [
            UnixListener::bind(&socket)?,
            UnixListener::bind_addr(&SocketAddr::from_abstract_name(&abstract_name)?)?,
        ];
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o666))?;
        let tcp = [listener()?, listener()?];
        let [closed_port, open_port] = [port(&tcp[0])?, port(&tcp[1])?];
        let leaked = fs::File::open(&secret)?;
        fcntl(&leaked, FcntlArg::F_SETFD(FdFlag::empty()))?;
        Ok(Self {
            scene: Scene {
                secret,
                readable,
                socket,
                abstract_name,
                closed_port,
                open_port,
                supervisor: i32::try_from(own).unwrap_or(i32::MAX),
            },
            directory: directory.to_owned(),
            _tcp: tcp,
            _unix: unix,
            _leaked: leaked,
        })
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // What cannot be removed is only rubbish among temporary files.
        drop(fs::remove_dir_all(&self.directory));
    }
}

/// A new directory outside `/tmp` where possible, because a sandbox has a `/tmp` of its own and
/// would hide the secret by that alone.
fn directory() -> io::Result<PathBuf> {
    let name = format!("plugbay-canary-{}", std::process::id());
    open(Path::new("/var/tmp").join(&name))
        .or_else(|_| open(env::temp_dir().join(&name)))?
        .canonicalize()
}

/// A new directory that everybody may enter.
fn open(path: PathBuf) -> io::Result<PathBuf> {
    fs::create_dir(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

/// A new file that everybody may read.
fn file(path: PathBuf) -> io::Result<PathBuf> {
    fs::write(&path, "read by the canary of a sandbox\n")?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
    Ok(path)
}

fn listener() -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
}

fn port(listener: &TcpListener) -> io::Result<u16> {
    Ok(listener.local_addr()?.port())
}
