//! Commands that describe how a node is doing: `SLOWLOG`, `LATENCY`, `MEMORY`, `TIME`, `ROLE` and `WAIT`.

use super::kinds::{Fixed, LocalCommand};
use super::parse::{Parsed, check_timeout, integer, local, shown, syntax_error, word, wrong_use};
use super::subcommands::SlowlogCommand;
use super::table::{GENERIC, NONE, SERVER, Spec};
use crate::resp::{Arguments, parse_integer};

/// The entries that `SLOWLOG GET` returns, unless it says how many.
const SLOWLOG_ENTRIES: usize = 10;

const ADMIN: &[&str] = &["admin", "loading", "stale"];
const QUIET: &[&str] = &["admin", "noscript", "loading", "stale"];
const HELP: &[&str] = &["loading", "stale"];

pub(super) static COMMANDS: &[Spec] = &[
    SERVER.container("slowlog", ADMIN, "Lists slow commands."),
    SERVER.container("latency", QUIET, "Reports latency events, which are not recorded."),
    SERVER.container("memory", &[], "Describes the memory of keys and of this node."),
    SERVER.spec("time", 1, &["loading", "stale", "fast"], "Returns the time of this node's wall clock.", |_| {
        local(LocalCommand::Time)
    }),
    SERVER.spec("role", 1, &["noscript", "loading", "stale", "fast", "admin"], "Describes this node's role.", |_| {
        local(LocalCommand::Role)
    }),
    GENERIC.keys(NONE).spec(
        "wait",
        3,
        &["noscript"],
        "Returns the number of other nodes that surely have every acknowledged write.",
        parse_wait,
    ),
];

pub(super) static SLOWLOG: &[Spec] = &[
    SERVER.spec("slowlog|get", -2, ADMIN, "Returns the newest entries.", parse_slowlog_get),
    SERVER.spec("slowlog|help", 2, HELP, "Lists the subcommands.", |_| local(LocalCommand::Help("slowlog"))),
    SERVER.spec("slowlog|len", 2, ADMIN, "Returns the number of entries.", |_| slowlog(SlowlogCommand::Len)),
    SERVER.spec("slowlog|reset", 2, ADMIN, "Drops the entries.", |_| slowlog(SlowlogCommand::Reset)),
];

pub(super) static LATENCY: &[Spec] = &[
    SERVER.spec("latency|doctor", 2, QUIET, "Says that latency events are not recorded.", |_| {
        fixed(Fixed::Text("Latency events are not recorded. SLOWLOG GET lists the slowest commands.\n"))
    }),
    SERVER.spec("latency|graph", 3, QUIET, "Refused: latency events are not recorded.", |a| {
        Err(format!("ERR No samples available for event '{}'", shown(a.peek(2))))
    }),
    SERVER.spec("latency|help", 2, HELP, "Lists the subcommands.", |_| local(LocalCommand::Help("latency"))),
    SERVER.spec("latency|histogram", -2, QUIET, "Returns nothing: latencies are not recorded.", |_| {
        fixed(Fixed::EmptyMap)
    }),
    SERVER.spec("latency|history", 3, QUIET, "Returns nothing: latency events are not recorded.", |_| {
        fixed(Fixed::EmptyArray)
    }),
    SERVER.spec("latency|latest", 2, QUIET, "Returns nothing: latency events are not recorded.", |_| {
        fixed(Fixed::EmptyArray)
    }),
    SERVER.spec("latency|reset", -2, QUIET, "Returns 0: latency events are not recorded.", |_| {
        local(LocalCommand::Integer(0))
    }),
];

pub(super) static MEMORY: &[Spec] = &[
    SERVER.spec("memory|doctor", 2, &[], "Refused: INFO memory has the numbers.", |_| {
        Err("ERR MEMORY DOCTOR is not supported; INFO memory has the numbers".to_owned())
    }),
    SERVER.spec("memory|help", 2, HELP, "Lists the subcommands.", |_| local(LocalCommand::Help("memory"))),
    SERVER.spec("memory|malloc-stats", 2, &[], "Says that the allocator has no statistics.", |_| {
        fixed(Fixed::Text("Stats not supported for the current allocator"))
    }),
    SERVER.spec("memory|purge", 2, &[], "Accepted without effect: free memory is returned anyway.", |_| {
        local(LocalCommand::Status("OK"))
    }),
    SERVER.spec("memory|stats", 2, &[], "Describes the memory of this node.", |_| local(LocalCommand::MemoryStats)),
    SERVER.keys((2, 2, 1)).spec(
        "memory|usage",
        -3,
        &["readonly"],
        "Returns the bytes that a key and its value count in used_memory.",
        parse_usage,
    ),
];

fn slowlog(command: SlowlogCommand) -> Parsed {
    local(LocalCommand::Slowlog(command))
}

fn fixed(reply: Fixed) -> Parsed {
    local(LocalCommand::Fixed(reply))
}

fn parse_slowlog_get(arguments: &Arguments<'_>) -> Parsed {
    let count = match arguments.len() {
        2 => SLOWLOG_ENTRIES,
        3 => match parse_integer(arguments.peek(2)) {
            Some(-1) => usize::MAX,
            Some(count @ 0..) => usize::try_from(count).unwrap_or(usize::MAX),
            _ => return Err("ERR count should be greater than or equal to -1".to_owned()),
        },
        _ => return Err(wrong_use(arguments, "SLOWLOG")),
    };
    slowlog(SlowlogCommand::Get(count))
}

fn parse_usage(arguments: &Arguments<'_>) -> Parsed {
    let mut at = 3;
    while at < arguments.len() {
        if word(arguments, at) != b"SAMPLES" || at + 1 == arguments.len() {
            return Err(syntax_error());
        }
        // Nothing is sampled, because every value knows its size.
        if integer(arguments.peek(at + 1))? < 0 {
            return Err(syntax_error());
        }
        at += 2;
    }
    local(LocalCommand::MemoryUsage(arguments.get(2)))
}

fn parse_wait(arguments: &Arguments<'_>) -> Parsed {
    integer(arguments.peek(1))?;
    check_timeout(arguments.peek(2))?;
    local(LocalCommand::Wait)
}
