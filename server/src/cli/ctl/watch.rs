//! `ctl status --watch`: the status again every second, with what happened in between.
//!
//! On a terminal it has the screen for itself, and leaves the screen as it was when it ends. Anywhere else it prints the
//! status again and again, without control sequences.

use super::connection::Access;
use super::screen;
use super::survey::{Survey, Verdict, survey};
use crate::status::NodeStatus;
use leasehold_core::NodeId;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// The interval at which it looks again.
const INTERVAL: Duration = Duration::from_secs(1);
/// The other screen without a cursor, and the former screen with it.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
const LAST_LINE: &str = "Every second. Ctrl-C ends it.";
/// The first word of a status, and its color: green, yellow, or red.
const COLORS: [(&str, u8); 4] = [("HEALTHY", 32), ("DEGRADED", 33), ("NO LEADER", 31), ("UNREACHABLE", 31)];

/// The form of the terminal.
#[derive(Clone, Copy, Debug)]
struct Form {
    columns: usize,
    lines: usize,
    colors: bool,
}

/// Shows the status until the process is ended, or until its output is closed. Returns what it showed last.
pub(super) fn watch(access: &Access, nodes: &[String]) -> io::Result<Verdict> {
    let mut output = io::stdout();
    let is_terminal = output.is_terminal();
    if is_terminal {
        restore_at_the_end()?;
        let _ = output.write_all(ENTER.as_bytes());
    }
    let mut before: Option<(Instant, Survey)> = None;
    loop {
        let survey = survey(access, nodes);
        let at = now();
        let text = match &before {
            Some((then, before)) => with_rates(&survey, before, at.duration_since(*then)),
            None => screen::status(&survey),
        };
        let shown = if is_terminal { frame(&text, form()) } else { text + "\n" };
        // One write, so that a signal finds the screen complete.
        if output.lock().write_all(shown.as_bytes()).and_then(|()| output.flush()).is_err() {
            return Ok(survey.picture().verdict);
        }
        before = Some((at, survey));
        std::thread::sleep(INTERVAL);
    }
}

#[expect(clippy::disallowed_methods, reason = "this measures time for the output; nothing depends on it")]
fn now() -> Instant {
    Instant::now()
}

/// Gives the former screen back when a signal ends this process.
#[cfg(unix)]
fn restore_at_the_end() -> io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        if let Some(signal) = signals.forever().next() {
            // Locked until the end, so that nothing is drawn after it.
            let mut output = io::stdout().lock();
            let _ = output.write_all(LEAVE.as_bytes()).and_then(|()| output.flush());
            std::process::exit(128 + signal);
        }
    })?;
    Ok(())
}

/// Does nothing: other systems have other signals.
#[cfg(not(unix))]
fn restore_at_the_end() -> io::Result<()> {
    Ok(())
}

/// Returns the form of the terminal of the standard output.
fn form() -> Form {
    let (columns, lines) = terminal_size::terminal_size()
        .map_or((80, 24), |(width, height)| (usize::from(width.0), usize::from(height.0)));
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
    Form { columns, lines, colors: !no_color && !is_dumb }
}

/// Returns the sequence that shows a text on the whole screen, as much of it as fits.
fn frame(text: &str, form: Form) -> String {
    let room = form.lines.saturating_sub(2).max(1);
    let all: Vec<&str> = text.lines().collect();
    let (shown, last) = match all.len() > room {
        true => (room, format!("{} more lines. {LAST_LINE}", all.len() - room)),
        false => (all.len(), LAST_LINE.to_owned()),
    };
    let mut frame = "\x1b[H".to_owned();
    for line in &all[..shown] {
        let cut: String = line.chars().take(form.columns).collect();
        frame.push_str(&if form.colors { colored(&cut) } else { cut });
        // Deletes what was there before.
        frame.push_str("\x1b[K\n");
    }
    let last: String = last.chars().take(form.columns).collect();
    frame + "\x1b[K\n" + &last + "\x1b[K\x1b[J"
}

/// Returns a line of a status with colors.
fn colored(line: &str) -> String {
    for (word, color) in COLORS {
        if let Some(rest) = line.strip_prefix(word).filter(|rest| rest.starts_with(':')) {
            return format!("\x1b[1;{color}m{word}\x1b[0m{rest}");
        }
    }
    if line == "What is wrong" { format!("\x1b[1;33m{line}\x1b[0m") } else { line.to_owned() }
}

/// Returns the status, and what each node did since the one before.
fn with_rates(survey: &Survey, before: &Survey, elapsed: Duration) -> String {
    let mut rows = vec![["NODE", "READS/S", "BY LEASE", "WRITES/S", "FAILED/S", "KEYS"].map(str::to_owned)];
    for (node, status) in &survey.nodes {
        rows.push(row(*node, status, before.nodes.get(node), elapsed));
    }
    if rows.len() == 1 {
        return screen::status(survey);
    }
    format!("{}\n{}\n", screen::status(survey), screen::table(&rows))
}

fn row(node: NodeId, status: &NodeStatus, before: Option<&NodeStatus>, elapsed: Duration) -> [String; 6] {
    let count = |status: &NodeStatus, name: &str| status.counters.get(name).copied().unwrap_or(0);
    let keys = count(status, "keys").to_string();
    // A node that was restarted counts from zero again.
    let Some(before) = before.filter(|before| before.uptime_s <= status.uptime_s) else {
        return [node.to_string(), "?".to_owned(), "?".to_owned(), "?".to_owned(), "?".to_owned(), keys];
    };
    let since = |names: &[&str]| -> u64 {
        names.iter().map(|name| count(status, name).saturating_sub(count(before, name))).sum()
    };
    let rate = |names: &[&str]| format!("{:.0}", since(names) as f64 / elapsed.as_secs_f64().max(0.001));
    let by_lease = ["reads_lease", "reads_local"];
    let reads = ["reads_lease", "reads_local", "reads_quorum"];
    let (lease, all) = (since(&by_lease), since(&reads));
    let share = (lease * 100).checked_div(all).map_or("-".to_owned(), |share| format!("{share} %"));
    [
        node.to_string(),
        rate(&reads),
        share,
        rate(&["writes_acknowledged"]),
        rate(&["reads_failed", "writes_failed", "writes_uncertain"]),
        keys,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(columns: usize, lines: usize, colors: bool) -> Form {
        Form { columns, lines, colors }
    }

    #[test]
    fn a_frame_replaces_the_one_before_and_never_scrolls() {
        let text = "HEALTHY: a b c\n\nLease    valid\n";
        let shown = frame(text, form(9, 24, false));
        assert_eq!(shown, "\x1b[HHEALTHY: \x1b[K\n\x1b[K\nLease    \x1b[K\n\x1b[K\nEvery sec\x1b[K\x1b[J");
        let long = "line\n".repeat(50);
        let shown = frame(&long, form(80, 10, false));
        assert_eq!(shown.matches('\n').count(), 9, "as many lines as the terminal has");
        assert!(shown.contains("42 more lines. "), "{shown}");
        assert_eq!(frame(&long, form(0, 0, false)).matches('\n').count(), 2, "no terminal is too small");
    }

    #[test]
    fn only_a_frame_with_colors_has_colors() {
        for text in ["HEALTHY: x", "DEGRADED: x", "NO LEADER: x", "UNREACHABLE: x", "What is wrong"] {
            let has_color = |colors| frame(text, form(80, 24, colors)).contains("\x1b[1;3");
            assert!(has_color(true) && !has_color(false), "{text}");
        }
        assert!(!frame("  * HEALTHY: no", form(80, 24, true)).contains("\x1b[1;3"));
    }

    #[test]
    fn rates_are_those_since_the_status_before() {
        let status = |lease: u64, quorum: u64, writes: u64, uptime_s: u64| {
            let counters = [
                ("reads_lease", lease - lease / 3),
                ("reads_local", lease / 3),
                ("reads_quorum", quorum),
                ("writes_acknowledged", writes),
                ("keys", 7),
            ];
            let counters = counters.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
            NodeStatus { node: 1, uptime_s, counters, ..NodeStatus::default() }
        };
        let row = |now: &NodeStatus, before| row(1, now, before, Duration::from_secs(2)).join(" ");
        let before = status(100, 0, 10, 5);
        assert_eq!(row(&status(399, 1, 30, 7), Some(&before)), "1 150 99 % 10 0 7");
        assert_eq!(row(&before, Some(&before)), "1 0 - 0 0 7");
        assert_eq!(row(&status(9, 0, 0, 1), Some(&before)), "1 ? ? ? ? 7", "it was restarted");
        assert_eq!(row(&before, None), "1 ? ? ? ? 7");
    }
}
