//! What Plugbay promises as a whole, each promise kept on real, sealed processes.

mod calls;
mod example;
mod failover;
mod golden;
mod streams;
mod swap;
