//! The verbs, one file each. They share `find` (a plugin by path or name), `past` (what was kept of a
//! plugin) and `interruption`, and little else.

pub(crate) mod call;
pub(crate) mod chaos;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod dev;
pub(crate) mod doctor;
pub(crate) mod find;
pub(crate) mod help_plugin;
pub(crate) mod history;
pub(crate) mod info;
pub(crate) mod interruption;
pub(crate) mod learn;
pub(crate) mod list;
pub(crate) mod man;
pub(crate) mod overlay;
pub(crate) mod past;
pub(crate) mod run;
pub(crate) mod why;
