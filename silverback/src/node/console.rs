//! How a node says that it is ready: to a terminal, or to the `start` that waits for it.

use std::io::Write;

/// Whom the node talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Console {
    /// A terminal or a container's log.
    Foreground,
    /// The pipe that `start` reads.
    Background,
}

impl Console {
    /// What `start` waits for.
    pub(crate) const READY: &str = "ready\n";
    /// What stands before the reason why the node can't start.
    pub(crate) const REFUSED: &str = "refused: ";

    /// Says that the node answers.
    pub(crate) fn ready(self) {
        if self == Console::Background {
            tell(Console::READY);
        }
    }

    /// Says why the node can't start.
    pub(crate) fn refused(self, why: &str) {
        if self == Console::Background {
            tell(&format!("{}{why}\n", Console::REFUSED));
        }
    }
}

/// If nobody reads any more, nobody needs to know.
fn tell(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
