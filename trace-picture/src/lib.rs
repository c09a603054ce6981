#![doc = include_str!("../README.md")]

mod align;
mod axis;
mod draw;
mod lanes;
mod moments;
mod recording;

pub use recording::{Recording, Step};

/// The most inputs in a picture. A longer recording needs a [window](Options::from).
pub const MAX_INPUTS: usize = 5000;

/// The options of a picture.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The heading.
    pub title: String,
    /// The beginning of the part that is drawn, in milliseconds on the clock of the first recording.
    pub from: Option<i64>,
    /// The end of that part.
    pub to: Option<i64>,
}

/// The reason why there is no picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PictureError {
    /// Nothing happens in the window.
    #[error("there is no input to draw; check the recording and the window")]
    Nothing,
    /// More happens than fits.
    #[error(
        "{0} inputs do not fit into a picture, which has at most {MAX_INPUTS}; choose a part of them with --from and --to"
    )]
    TooMany(usize),
}

/// Draws recordings on one time axis: that of the first.
///
/// # Errors
/// [`PictureError`] if there are no inputs in the window, or too many.
pub fn draw(recordings: &[Recording], options: &Options) -> Result<String, PictureError> {
    let mut read: Vec<_> = recordings.iter().map(moments::read).collect();
    let alignments = align::align(&mut read);
    let nanos = |millis: i64| millis.saturating_mul(1_000_000);
    let window = options.from.map_or(i64::MIN, nanos)..=options.to.map_or(i64::MAX, nanos);
    let story = moments::merge(read, &window);
    match story.moments.len() {
        0 => return Err(PictureError::Nothing),
        count if count > MAX_INPUTS => return Err(PictureError::TooMany(count)),
        _ => {}
    }
    let lanes = lanes::lanes(&story.moments);
    Ok(draw::draw(&options.title, &story, &lanes, recordings, &alignments))
}
