//! Commands of Redis that have no meaning here. They are answered as a Redis without the feature would, or refused with
//! what to do instead.

use super::kinds::{Fixed, LocalCommand};
use super::parse::{NO_DATABASE, Parsed, integer, local, rejected, shown, word, wrong_use};
use super::table::{GENERIC, SERVER, Spec};
use crate::resp::{Arguments, parse_integer};

const NO_DEBUG: &str = "ERR DEBUG command not allowed. It is for tests of Redis itself.";
const NO_MODULES: &str = "ERR MODULE command not allowed. There are no modules here.";
const NO_SAVE: &str = "ERR there is nothing to save: every write is on the disks of a majority before it is acknowledged; \
                       `leasehold backup` takes a copy";
const NO_SHUTDOWN: &str =
    "ERR SHUTDOWN is not supported; stop the node with SIGTERM, which hands leadership over first";
const NO_REPLICAS: &str = "ERR members are not changed by this command; use `leasehold ctl`";
const NO_FAILOVER: &str = "ERR leadership is not handed over by this command; use `leasehold ctl transfer`";
const NO_SCRIPTS: &str = "ERR scripts and functions are not supported here; use MULTI with WATCH, or SET with IFEQ";
const NO_USERS_HERE: &str = "ERR users are not changed by commands; change the file of --users and send SIGHUP";

const ADMIN: &[&str] = &["admin", "noscript"];
const ANYTIME: &[&str] = &["admin", "noscript", "loading", "stale"];
const OWN: &[&str] = &["noscript", "loading", "stale"];
const HELP: &[&str] = &["loading", "stale"];

pub(super) static COMMANDS: &[Spec] = &[
    SERVER.container("acl", &[], "Describes the user of this connection."),
    SERVER.spec("bgrewriteaof", 1, ADMIN, "Refused: every write is on disk.", |_| Err(NO_SAVE.to_owned())),
    SERVER.spec("bgsave", -1, ADMIN, "Refused: every write is on disk.", |_| Err(NO_SAVE.to_owned())),
    SERVER.spec("debug", -2, ANYTIME, "Refused.", |_| Err(NO_DEBUG.to_owned())),
    SERVER.spec("failover", -1, &["admin", "noscript", "stale"], "Refused: use `leasehold ctl transfer`.", |_| {
        Err(NO_FAILOVER.to_owned())
    }),
    SERVER.container("function", &[], "Describes functions, of which there are none."),
    SERVER.spec("lastsave", 1, &["loading", "stale", "fast"], "Refused: every write is on disk.", |_| {
        Err(NO_SAVE.to_owned())
    }),
    SERVER.spec("lolwut", -1, &["readonly", "fast"], "Returns a picture.", |_| local(LocalCommand::Lolwut)),
    SERVER.container("module", &[], "Lists modules, of which there are none."),
    GENERIC.spec("move", 3, &["write", "fast"], "Refused: there is one database.", parse_move),
    SERVER.spec("replicaof", 3, &["admin", "noscript", "stale"], "Refused: use `leasehold ctl`.", no_replicas),
    SERVER.spec("save", 1, ADMIN, "Refused: every write is on disk.", |_| Ok(rejected(NO_SAVE.to_owned()))),
    SERVER.container("script", &[], "Describes scripts, of which there are none."),
    SERVER.spec("shutdown", -1, ANYTIME, "Refused: send SIGTERM.", |_| Ok(rejected(NO_SHUTDOWN.to_owned()))),
    SERVER.spec("slaveof", 3, &["admin", "noscript", "stale"], "Refused: use `leasehold ctl`.", no_replicas),
    SERVER.spec("swapdb", 3, &["write", "fast"], "Swaps database 0 with itself.", parse_swap),
];

pub(super) static ACL: &[Spec] = &[
    SERVER.spec("acl|cat", -2, OWN, "Lists access categories, or the commands in one.", |a| match a.len() {
        2 => local(LocalCommand::AclCategories),
        3 => local(LocalCommand::AclCategory(a.get(2))),
        _ => Err(wrong_use(a, "ACL")),
    }),
    SERVER.spec("acl|help", 2, HELP, "Lists the subcommands.", |_| local(LocalCommand::Help("acl"))),
    SERVER.spec("acl|whoami", 2, OWN, "Returns the user of this connection.", |_| local(LocalCommand::WhoAmI)),
    SERVER.spec("acl|deluser", -3, ANYTIME, "Refused: change the file of --users.", no_users),
    SERVER.spec("acl|dryrun", -4, ANYTIME, "Refused: change the file of --users.", no_users),
    SERVER.spec("acl|genpass", -2, OWN, "Refused: change the file of --users.", no_users),
    SERVER.spec("acl|getuser", 3, ANYTIME, "Refused: change the file of --users.", no_users),
    SERVER.spec("acl|list", 2, ANYTIME, "Refused: change the file of --users.", no_users),
    SERVER.spec("acl|load", 2, ANYTIME, "Refused: send SIGHUP.", no_users),
    SERVER.spec("acl|log", -2, ANYTIME, "Refused: INFO clients counts refusals.", no_users),
    SERVER.spec("acl|save", 2, ANYTIME, "Refused: change the file of --users.", no_users),
    SERVER.spec("acl|setuser", -3, ANYTIME, "Refused: change the file of --users.", no_users),
    SERVER.spec("acl|users", 2, ANYTIME, "Refused: change the file of --users.", no_users),
];

pub(super) static FUNCTION: &[Spec] = &[
    SERVER.spec(
        "function|flush",
        -2,
        &["noscript", "write"],
        "Accepted without effect: there are no functions.",
        |a| flush(a, "ERR FUNCTION FLUSH only supports SYNC|ASYNC option"),
    ),
    SERVER.spec("function|help", 2, HELP, "Lists the subcommands.", |_| local(LocalCommand::Help("function"))),
    SERVER.spec("function|kill", 2, &["noscript"], "Refused: no function runs.", no_running),
    SERVER.spec("function|list", -2, &["noscript"], "Returns nothing: there are no functions.", parse_list),
    SERVER.spec("function|load", -3, &["noscript", "write"], "Refused: functions are not supported.", no_scripts),
];

pub(super) static SCRIPT: &[Spec] = &[
    SERVER.spec("script|exists", -3, &["noscript"], "Returns 0 for each script: there are none.", |a| {
        local(LocalCommand::Fixed(Fixed::Zeros(a.len() - 2)))
    }),
    SERVER.spec("script|flush", -2, &["noscript"], "Accepted without effect: there are no scripts.", |a| {
        flush(a, "ERR SCRIPT FLUSH only support SYNC|ASYNC option")
    }),
    SERVER.spec("script|help", 2, HELP, "Lists the subcommands.", |_| local(LocalCommand::Help("script"))),
    SERVER.spec("script|kill", 2, &["noscript"], "Refused: no script runs.", no_running),
    SERVER.spec("script|load", 3, &["noscript", "stale"], "Refused: scripts are not supported.", no_scripts),
];

pub(super) static MODULE: &[Spec] = &[
    SERVER.spec("module|help", 2, HELP, "Lists the subcommands.", |_| local(LocalCommand::Help("module"))),
    SERVER.spec("module|list", 2, ADMIN, "Returns nothing: there are no modules.", |_| {
        local(LocalCommand::Fixed(Fixed::EmptyArray))
    }),
    SERVER.spec("module|load", -3, ADMIN, "Refused: there are no modules.", no_modules),
    SERVER.spec("module|loadex", -3, ADMIN, "Refused: there are no modules.", no_modules),
    SERVER.spec("module|unload", 3, ADMIN, "Refused: there are no modules.", no_modules),
];

fn no_users(_: &Arguments<'_>) -> Parsed {
    Err(NO_USERS_HERE.to_owned())
}

fn no_replicas(_: &Arguments<'_>) -> Parsed {
    Err(NO_REPLICAS.to_owned())
}

fn no_scripts(_: &Arguments<'_>) -> Parsed {
    Err(NO_SCRIPTS.to_owned())
}

fn no_running(_: &Arguments<'_>) -> Parsed {
    Err("NOTBUSY No scripts in execution right now.".to_owned())
}

fn no_modules(_: &Arguments<'_>) -> Parsed {
    Err(NO_MODULES.to_owned())
}

/// Parses `FUNCTION FLUSH` and `SCRIPT FLUSH`, which have nothing to drop.
fn flush(arguments: &Arguments<'_>, error: &str) -> Parsed {
    match (arguments.len(), word(arguments, 2).as_slice()) {
        (2, _) | (3, b"SYNC" | b"ASYNC") => local(LocalCommand::Status("OK")),
        _ => Err(error.to_owned()),
    }
}

/// Parses `FUNCTION LIST`.
fn parse_list(arguments: &Arguments<'_>) -> Parsed {
    let (mut named, mut coded) = (false, false);
    let mut at = 2;
    while at < arguments.len() {
        match word(arguments, at).as_slice() {
            b"WITHCODE" if !coded => coded = true,
            b"LIBRARYNAME" if !named => {
                named = true;
                at += 1;
                if at == arguments.len() {
                    return Err("ERR library name argument was not given".to_owned());
                }
            }
            _ => return Err(format!("ERR Unknown argument {}", shown(arguments.peek(at)))),
        }
        at += 1;
    }
    local(LocalCommand::Fixed(Fixed::EmptyArray))
}

fn parse_move(arguments: &Arguments<'_>) -> Parsed {
    match integer(arguments.peek(2))? {
        0 => Err("ERR source and destination objects are the same".to_owned()),
        _ => Err(NO_DATABASE.to_owned()),
    }
}

fn parse_swap(arguments: &Arguments<'_>) -> Parsed {
    let index = |at, which| {
        let index = parse_integer(arguments.peek(at)).filter(|index| i32::try_from(*index).is_ok());
        index.ok_or_else(|| format!("ERR invalid {which} DB index"))
    };
    match (index(1, "first")?, index(2, "second")?) {
        (0, 0) => local(LocalCommand::Status("OK")),
        _ => Err(NO_DATABASE.to_owned()),
    }
}
