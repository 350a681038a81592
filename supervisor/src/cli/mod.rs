//! The verbs, one file each. They share `find` (a plugin by path or name) and `past` (what was kept
//! of a plugin), and nothing else.

pub(crate) mod call;
pub(crate) mod chaos;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod find;
pub(crate) mod help_plugin;
pub(crate) mod history;
pub(crate) mod info;
pub(crate) mod learn;
pub(crate) mod list;
pub(crate) mod man;
pub(crate) mod overlay;
pub(crate) mod past;
pub(crate) mod run;
pub(crate) mod why;
