//! Carrying out the plan inside the new process: each step one small function, one error.

pub(crate) mod confine;
pub(crate) mod idmap;
pub(crate) mod landlock;
pub(crate) mod mount;
