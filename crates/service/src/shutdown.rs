//! Signals become a cancellation: the first SIGINT or SIGTERM asks everything to end in order, the second ends
//! the process at once.

use tokio_util::sync::CancellationToken;

/// A token that is cancelled by the first SIGINT or SIGTERM. The second exits with code 130.
pub fn on_signal() -> std::io::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let token = CancellationToken::new();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let cancel = token.clone();
    tokio::spawn(async move {
        for first in [true, false] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if first {
                tracing::info!("shutting down; a second signal ends the process at once");
                cancel.cancel();
            } else {
                std::process::exit(130);
            }
        }
    });
    Ok(token)
}
