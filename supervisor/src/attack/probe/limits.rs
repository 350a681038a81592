//! What a process brings along and how much it may take, catalogue numbers 57 to 62.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    os::fd::AsRawFd as _,
    path::Path,
};

use nix::errno::Errno;

use super::{
    Attack, Scene,
    call::{self, raw},
    processes,
};

pub(crate) const ATTACKS: &[Attack] = &[
    ("inherited-descriptors", inherited_descriptors),
    ("environment", environment),
    ("environment-of-children", environment_of_children),
    ("private-memory", private_memory),
    ("shared-memory", shared_memory),
    ("memory-file", memory_file),
    ("unmapped-memory-file", unmapped_memory_file),
    ("memory-of-children", memory_of_children),
    ("burn", burn),
    ("open-many", open_many),
];

/// Everything above standard error that is open, but for the directory being read.
fn inherited_descriptors(scene: &Scene) {
    let listed = fs::read_dir("/proc/self/fd").unwrap();
    let numbers: Vec<i32> =
        listed.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    // The directory's own descriptor is in the list, and closed by now.
    let open = numbers
        .iter()
        .filter(|fd| **fd > 2 && fs::read_link(format!("/proc/self/fd/{fd}")).is_ok());
    let open = open.count();
    scene.told("open", &open.to_string());
    scene.step("inherited", if open > 0 { Ok(()) } else { Err(Errno::EBADF) });
    let terminals = (0..3).filter(|fd| nix::unistd::isatty(borrowed(*fd)).unwrap_or(false)).count();
    scene.told("terminals", &terminals.to_string());
}

fn borrowed(number: i32) -> std::os::fd::BorrowedFd<'static> {
    match number {
        0 => std::os::fd::AsFd::as_fd(Box::leak(Box::new(std::io::stdin()))),
        1 => std::os::fd::AsFd::as_fd(Box::leak(Box::new(std::io::stdout()))),
        _ => std::os::fd::AsFd::as_fd(Box::leak(Box::new(std::io::stderr()))),
    }
}

/// Whether the harness's secret variable can be found anywhere.
fn environment(scene: &Scene) {
    let marker = scene.text("marker");
    let found = |holds: bool| if holds { Ok(()) } else { Err(Errno::ENOENT) };
    scene.step("variables", found(std::env::vars().any(|(_, value)| value.contains(marker))));
    let own = fs::read("/proc/self/environ").unwrap_or_default();
    scene.step("own-environ", found(String::from_utf8_lossy(&own).contains(marker)));
    for name in ["LD_PRELOAD", "LD_LIBRARY_PATH", "PYTHONPATH", "SSH_AUTH_SOCK"] {
        scene.step(name, found(std::env::var_os(name).is_some()));
    }
    let all = fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        fs::read(entry.path().join("environ"))
            .is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(marker))
    });
    scene.step("all-environs", found(all));
}

fn environment_of_children(scene: &Scene) {
    let marker = scene.text("marker");
    let output = processes::command(Path::new("/usr/bin/env")).output().unwrap();
    let holds = String::from_utf8_lossy(&output.stdout).contains(marker);
    scene.step("env", if holds { Ok(()) } else { Err(Errno::ENOENT) });
    if let Some(signal) = processes::ended_by(output.status) {
        scene.told("ended", &signal.to_string());
    }
}

fn bytes(scene: &Scene) -> usize {
    usize::try_from(scene.number("bytes")).unwrap()
}

fn private_memory(scene: &Scene) {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    scene.held_step("touch", call::touched_mapping(bytes(scene), flags, -1));
}

fn shared_memory(scene: &Scene) {
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    scene.held_step("touch", call::touched_mapping(bytes(scene), flags, -1));
}

fn memory_file(scene: &Scene) {
    let memory =
        raw(libc::SYS_memfd_create, &[c"hog".as_ptr().addr(), 0]).map(call::adopt).unwrap();
    let grown = nix::unistd::ftruncate(&memory, i64::from(scene.number("bytes")));
    let touched = grown
        .and_then(|()| call::touched_mapping(bytes(scene), libc::MAP_SHARED, memory.as_raw_fd()));
    scene.held_step("touch", touched);
}

/// Only written to: it is in no process's resident memory.
fn unmapped_memory_file(scene: &Scene) {
    let memory = raw(libc::SYS_memfd_create, &[c"hog".as_ptr().addr(), 0]).map(call::adopt);
    let mut file = File::from(memory.unwrap());
    let chunk = vec![1; 1 << 20];
    let written = (0..bytes(scene) >> 20).try_for_each(|_| file.write_all(&chunk));
    scene.held_step("write", written);
}

/// A little less in each than one may have, and much more in all.
fn memory_of_children(scene: &Scene) {
    const CHILDREN: usize = 4;
    let (reader, writer) = std::io::pipe().unwrap();
    let (told, tells) = std::io::pipe().unwrap();
    let (mut hold, mut tells) = (Some(writer), Some(tells));
    let share = bytes(scene) / CHILDREN;
    for _ in 0..CHILDREN {
        call::spawn(|| {
            hold.take();
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let touched = call::touched_mapping(share, flags, -1);
            let tells = tells.take().unwrap();
            (&tells).write_all(&[u8::from(touched.is_ok())]).ok();
            drop(tells);
            (&reader).read_exact(&mut [0]).ok();
        })
        .unwrap();
    }
    drop(tells);
    // One that was killed says nothing.
    let mut all = [0; CHILDREN];
    let heard = (&told).read_exact(&mut all).is_ok() && !all.contains(&0);
    scene.held_step("touch-all", if heard { Ok(()) } else { Err(Errno::ENOMEM) });
    drop(hold);
}

fn burn(_scene: &Scene) {
    call::default_action(libc::SIGXCPU);
    loop {
        std::hint::spin_loop();
    }
}

fn open_many(scene: &Scene) {
    let count = usize::try_from(scene.number("count")).unwrap();
    let files: Result<Vec<File>, _> =
        (0..count).map(|_| File::open(Path::new("/dev/null"))).collect();
    scene.step("open", files);
}
