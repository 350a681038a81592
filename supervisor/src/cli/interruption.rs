//! When somebody wants us to end.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Returns when the user, or whoever started us, wants us to end.
pub(crate) async fn wanted() {
    let stream = |kind| -> io::Result<_> { signal(kind) };
    let streams = (
        stream(SignalKind::interrupt()),
        stream(SignalKind::terminate()),
        stream(SignalKind::hangup()),
    );
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) = streams else {
        // Without handlers the signals end us at once, and the keeper ends everything else.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}
