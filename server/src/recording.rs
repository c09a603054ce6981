//! Recording the inputs of a node's lease and replaying them: `serve --record FILE` and `leasehold trace FILE`.

use crate::slots::SlotTable;
use async_channel::{Receiver, Sender};
use leasehold_core::NodeId;
use leasehold_core::trace::{Line, Malformed, Node, OutOfPlace, REPLAY_ORIGIN, is_prose};
use leasehold_node::TraceSink;
use leasehold_runtime::{Runtime, ThreadPolicy};
use leasehold_trace_picture::Step;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

/// The most pieces of a recording that may wait for the disk. The recording ends when there are more.
const MAX_WAITING: usize = 65_536;

/// Returns the file of a group for a recording with this name.
fn path_of(name: &Path, group: u16) -> PathBuf {
    let mut path = name.as_os_str().to_owned();
    path.push(format!(".{group}"));
    path.into()
}

/// A running recording.
pub(crate) struct Recording {
    /// Takes the lines to record, each with the place of its file.
    lines: Sender<(usize, String)>,
    /// Closes when all lines are in the files.
    written: Receiver<()>,
}

impl Recording {
    /// Starts a new file, or one for each group if there are several: with a dot and the group's number after the name.
    ///
    /// # Errors
    /// The file that cannot be written, and the system's error.
    pub(crate) fn start<R: Runtime>(
        runtime: &R,
        name: &Path,
        slots: SlotTable,
    ) -> Result<Recording, (PathBuf, io::Error)> {
        let create = |group| {
            let (path, heading) = if slots.is_single() {
                (name.to_owned(), "# The lease of one node. Replay it with: leasehold trace FILE".to_owned())
            } else {
                let of_group =
                    format!("# The lease of group {group} of one node. Replay it with: leasehold trace FILE");
                (path_of(name, group), of_group)
            };
            let file = File::create(&path).and_then(|file| {
                let mut file = BufWriter::new(file);
                writeln!(file, "{heading}").map(|()| file)
            });
            file.map_err(|error| (path, error))
        };
        let mut files = slots.groups().map(create).collect::<Result<Vec<_>, _>>()?;
        let (lines, waiting) = async_channel::bounded::<(usize, String)>(MAX_WAITING);
        let (open, written) = async_channel::bounded(1);
        let started = runtime.spawn_thread("record", ThreadPolicy::Batch, async move {
            // Closes `written` when this task ends.
            let _open: Sender<()> = open;
            while let Ok((at, piece)) = waiting.recv().await {
                let file = &mut files[at];
                // A reader of the file sees only whole inputs.
                if let Err(error) = file.write_all(piece.as_bytes()).and_then(|()| file.flush()) {
                    tracing::warn!("the recording ends here, it cannot be written: {error}");
                    waiting.close();
                }
            }
        });
        started.map_err(|error| (name.to_owned(), error))?;
        Ok(Recording { lines, written })
    }

    /// Returns where a node's task sends the lines of a group. If they come faster than the disk takes them, the recording
    /// of all groups ends.
    pub(crate) fn sink(&self, group: u16) -> TraceSink {
        let lines = self.lines.clone();
        Box::new(move |piece| {
            let taken = lines.try_send((group.into(), piece)).is_ok();
            if !taken {
                lines.close();
            }
            taken
        })
    }

    /// Returns what is closed when all lines are in the files, once every sink is dropped.
    pub(crate) fn written(self) -> Receiver<()> {
        self.written
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
