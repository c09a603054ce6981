//! Recording what a node's lease is told, and replaying it: `serve --record FILE` and `leasehold trace FILE`.

use async_channel::{Receiver, Sender};
use leasehold_core::NodeId;
use leasehold_core::trace::{Line, Malformed, Node, OutOfPlace, REPLAY_ORIGIN, is_prose};
use leasehold_node::TraceSink;
use leasehold_runtime::{Runtime, ThreadPolicy};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

/// Pieces of a recording that may wait for the disk; a driver that brings more stops recording.
const WAITING: usize = 65_536;

/// A recording under way.
pub(crate) struct Recording {
    /// Where lines go.
    pub(crate) lines: Sender<String>,
    /// Closed when all lines are in the file.
    pub(crate) written: Receiver<()>,
}

impl Recording {
    /// Starts a new file.
    pub(crate) fn start<R: Runtime>(runtime: &R, path: &Path) -> io::Result<Recording> {
        let mut file = BufWriter::new(File::create(path)?);
        writeln!(file, "# The lease of one node. Replay it with: leasehold trace FILE")?;
        let (lines, waiting) = async_channel::bounded::<String>(WAITING);
        let (open, written) = async_channel::bounded(1);
        runtime.spawn_thread("record", ThreadPolicy::Batch, async move {
            // Held until all is written.
            let _open: Sender<()> = open;
            while let Ok(piece) = waiting.recv().await {
                // Whoever watches the file sees whole inputs.
                if let Err(error) = file.write_all(piece.as_bytes()).and_then(|()| file.flush()) {
                    tracing::warn!("the recording ends here, it cannot be written: {error}");
                    waiting.close();
                }
            }
        })?;
        Ok(Recording { lines, written })
    }

    /// Returns where a node's task sends lines, and what is closed when all of them are in the file.
    pub(crate) fn split(self) -> (TraceSink, Receiver<()>) {
        let Recording { lines, written } = self;
        let sink = move |piece| {
            let taken = lines.try_send(piece).is_ok();
            if !taken {
                lines.close();
            }
            taken
        };
        (Box::new(sink), written)
    }
}

/// A line that cannot be replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// It cannot be read.
    #[error("line {line}, {wrong}")]
    Malformed {
        /// Its number, from 1.
        line: usize,
        /// Where, and what was expected.
        wrong: Malformed,
    },
    /// It cannot follow the lines before it.
    #[error("line {line}: {wrong}")]
    OutOfPlace {
        /// Its number, from 1.
        line: usize,
        /// Why.
        wrong: OutOfPlace,
    },
}

/// The trace that the inputs in `text` cause in fresh machines; blank lines and comments are kept as they are.
///
/// # Errors
/// [`ReplayError`] at the first line that makes no sense.
pub fn replay(text: &str) -> Result<String, ReplayError> {
    let mut nodes: BTreeMap<NodeId, Option<Node>> = BTreeMap::new();
    let mut out = String::new();
    for (line, text) in (1..).zip(text.lines()) {
        if is_prose(text) {
            out.push_str(text);
        } else {
            let input = Line::parse(text, REPLAY_ORIGIN).map_err(|wrong| ReplayError::Malformed { line, wrong })?;
            let effect = Node::replay(nodes.entry(input.node).or_default(), &input)
                .map_err(|wrong| ReplayError::OutOfPlace { line, wrong })?;
            out.push_str(&input.shown(&effect, REPLAY_ORIGIN).to_string());
        }
        out.push('\n');
    }
    Ok(out)
}
