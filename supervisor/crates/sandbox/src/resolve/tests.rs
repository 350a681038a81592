//! Made-up trees for every manager, and this machine's real ones where there are any.

mod commands;
mod grants;
mod managers;
mod scripts;

use std::{
    ffi::OsString,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::{ResolveError, Resolved, resolve};

/// A little world: a home, a working directory, a search path, in a temporary directory.
struct World {
    root: PathBuf,
    env: Vec<(OsString, OsString)>,
    _directory: TempDir,
}

impl World {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let root = directory.path().canonicalize().unwrap();
        let mut world = Self { root, env: Vec::new(), _directory: directory };
        for made in ["home/ann", "work/project", "path"] {
            fs::create_dir_all(world.at(made)).unwrap();
        }
        let home = world.at("home/ann");
        let path = world.at("path");
        world.set("HOME", home.to_str().unwrap());
        world.set("PATH", path.to_str().unwrap());
        world
    }

    /// A path of the world; an absolute one would leave it.
    fn at(&self, path: &str) -> PathBuf {
        assert!(!path.starts_with('/'), "`{path}` is outside of the world");
        self.root.join(path)
    }

    fn text(&self, path: &str) -> String {
        self.at(path).into_os_string().into_string().unwrap()
    }

    fn set(&mut self, name: &str, value: &str) {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.into(), value.into()));
    }

    fn search(&mut self, path: &str) {
        let path = self.text(path);
        self.set("PATH", &path);
    }

    fn write(&self, path: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn mode(&self, path: &str, mode: u32) {
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn script(&self, path: &str, text: &str) -> PathBuf {
        let written = self.write(path, text);
        self.mode(path, 0o755);
        written
    }

    /// A program without loader.
    fn program(&self, path: &str) -> PathBuf {
        let written = self.write(path, elf(native(), None));
        self.mode(path, 0o755);
        written
    }

    /// An installation: a program in `bin`, and a `lib` beside.
    fn installation(&self, path: &str, program: &str) -> PathBuf {
        fs::create_dir_all(self.at(path).join("lib")).unwrap();
        self.program(&format!("{path}/bin/{program}"))
    }

    fn link(&self, path: &str, target: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }

    fn run(&self, command: &str, args: &[&str]) -> Result<Resolved, ResolveError> {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        resolve(command, &args, &self.env, &self.at("work/project"))
    }

    /// The error's exit code and words, paths relative to the world.
    fn error(&self, command: &str, args: &[&str]) -> (u8, String) {
        let error = self.run(command, args).unwrap_err();
        (error.exit_code(), error.to_string().replace(self.root.to_str().unwrap(), ""))
    }

    /// A path relative to the world, as text.
    fn short(&self, path: &Path) -> String {
        path.to_str().unwrap().replace(self.root.to_str().unwrap(), "")
    }

    fn program_of(&self, resolved: &Resolved) -> String {
        self.short(&resolved.program)
    }

    fn args_of(&self, resolved: &Resolved) -> Vec<String> {
        resolved.args.iter().map(|arg| self.short(Path::new(arg))).collect()
    }

    fn grants_of(&self, resolved: &Resolved) -> Vec<String> {
        resolved.grants.iter().map(|grant| self.short(&grant.path)).collect()
    }

    fn notes_of(&self, resolved: &Resolved) -> String {
        resolved.notes.join("\n").replace(self.root.to_str().unwrap(), "")
    }
}

fn variable(resolved: &Resolved, name: &str) -> Option<String> {
    let found = resolved.env.iter().find(|(known, _)| known == name)?;
    Some(found.1.to_str().unwrap().to_owned())
}

/// The ELF number of the running processor.
fn native() -> u16 {
    if cfg!(target_arch = "x86_64") { 62 } else { 183 }
}

/// An ELF file of nothing but headers.
fn elf(machine: u16, loader: Option<&str>) -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
    bytes[16] = 3;
    bytes[18..20].copy_from_slice(&machine.to_le_bytes());
    bytes[54] = 56;
    if let Some(loader) = loader {
        bytes[32] = 64;
        bytes[56] = 1;
        let mut segment = [0; 56];
        segment[0] = 3;
        segment[8] = 120;
        segment[32] = u8::try_from(loader.len() + 1).unwrap();
        bytes.extend(segment);
        bytes.extend(loader.bytes().chain([0]));
    }
    bytes
}
