//! The crew on work made up for it.
