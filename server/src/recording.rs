//! Recording the inputs of a node's lease and replaying them: `serve --record FILE` and `leasehold trace FILE`.

use async_channel::{Receiver, Sender};
use leasehold_core::NodeId;
use leasehold_core::trace::{Line, Malformed, Node, OutOfPlace, REPLAY_ORIGIN, is_prose};
use leasehold_node::TraceSink;
use leasehold_runtime::{Runtime, ThreadPolicy};
use leasehold_trace_picture::Step;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

/// The most pieces of a recording that may wait for the disk. The recording ends when there are more.
const MAX_WAITING: usize = 65_536;

/// A running recording.
pub(crate) struct Recording {
    /// Takes the lines to record.
    pub(crate) lines: Sender<String>,
    /// Closes when all lines are in the file.
    pub(crate) written: Receiver<()>,
}

impl Recording {
    /// Starts a new file.
    pub(crate) fn start<R: Runtime>(runtime: &R, path: &Path) -> io::Result<Recording> {
        let mut file = BufWriter::new(File::create(path)?);
        writeln!(file, "# The lease of one node. Replay it with: leasehold trace FILE")?;
        let (lines, waiting) = async_channel::bounded::<String>(MAX_WAITING);
        let (open, written) = async_channel::bounded(1);
        runtime.spawn_thread("record", ThreadPolicy::Batch, async move {
            // Closes `written` when this task ends.
            let _open: Sender<()> = open;
            while let Ok(piece) = waiting.recv().await {
                // A reader of the file sees only whole inputs.
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
#[non_exhaustive]
pub enum ReplayError {
    /// The line cannot be parsed.
    #[error("line {line}, {wrong}")]
    Malformed {
        /// The number of the line, from 1.
        line: usize,
        /// The position in the line, and what was expected there.
        wrong: Malformed,
    },
    /// The line cannot follow the lines before it.
    #[error("line {line}: {wrong}")]
    OutOfPlace {
        /// The number of the line, from 1.
        line: usize,
        /// The reason.
        wrong: OutOfPlace,
    },
}

impl ReplayError {
    /// Returns the number of the line, from 1.
    pub fn line(&self) -> usize {
        match self {
            ReplayError::Malformed { line, .. } | ReplayError::OutOfPlace { line, .. } => *line,
        }
    }
}

/// Replays the inputs in `text` with new machines and returns the resulting trace. Blank lines and comments stay
/// unchanged.
///
/// # Errors
/// [`ReplayError`] at the first line that cannot be replayed.
pub fn replay(text: &str) -> Result<String, ReplayError> {
    let mut out = String::new();
    replay_each(text, |step| {
        match step {
            Step::Prose(prose) => out.push_str(&prose),
            Step::Input(input) => out.push_str(&input.0.shown(&input.1, REPLAY_ORIGIN).to_string()),
        }
        out.push('\n');
    })?;
    Ok(out)
}

/// Replays the inputs in `text` with new machines and returns its lines with their effects.
///
/// # Errors
/// [`ReplayError`] at the first line that cannot be replayed.
pub fn replay_steps(text: &str) -> Result<Vec<Step>, ReplayError> {
    let mut steps = Vec::new();
    replay_each(text, |step| steps.push(step))?;
    Ok(steps)
}

fn replay_each(text: &str, mut take: impl FnMut(Step)) -> Result<(), ReplayError> {
    let mut nodes: BTreeMap<NodeId, Option<Node>> = BTreeMap::new();
    for (line, text) in (1..).zip(text.lines()) {
        take(if is_prose(text) {
            Step::Prose(text.to_owned())
        } else {
            let input = Line::parse(text, REPLAY_ORIGIN).map_err(|wrong| ReplayError::Malformed { line, wrong })?;
            let effect = Node::replay(nodes.entry(input.node).or_default(), &input)
                .map_err(|wrong| ReplayError::OutOfPlace { line, wrong })?;
            Step::Input(Box::new((input, effect)))
        });
    }
    Ok(())
}
