//! The inputs of the state machines and their effects as text, one line per input.
//!
//! ```text
//!        7ms  n1 > ack from=n2 term=3 round=1       < confirmed through=1   lease until 1000ms   wake 100ms heartbeat
//! ```
//!
//! From left to right: the reading that came with the input, relative to the start of the trace; the node; the input;
//! and its effects. A reading on which both counters agree is one time. `7ms/60007ms` is a reading on which they
//! differ: the counter that stops while the machine is suspended comes first. All values are exact, so replaying the
//! left half of a trace produces the right half.
//!
//! `>` means that the outputs were taken after this input; `+`, that another input came first. Blank lines and lines
//! that start with `#` are comments. A [`Recorder`] writes lines as a node runs, [`Line::parse`] reads them, and
//! [`Node::replay`] replays them.

mod line;
mod parse;
mod recorder;
mod replay;
mod text;

pub use line::{Answer, Effect, Hold, Input, Line};
pub use parse::Malformed;
pub use recorder::Recorder;
pub use replay::{Node, OutOfPlace, REPLAY_ORIGIN};
pub use text::{Shown, is_prose};
