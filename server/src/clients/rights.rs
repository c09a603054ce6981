//! What a connection may do.

use super::shared::Clients;
use super::transaction::Action;
use crate::command::{Command, Known, LocalCommand, find, shown};
use crate::keyspace::WriteCommand;
use crate::resp::Arguments;
use crate::users::{Access, Login, Role};
use event_listener::{Event, EventListener};
use leasehold_runtime::Runtime;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const LOGIN_NEEDED: &str = "NOAUTH Authentication required.";
const NO_TRANSACTION: &str =
    "NOPERM this user may not execute the commands of this transaction any more; none was executed";

/// The part of a connection's rights that others watch, to close a connection that does not log in.
#[derive(Debug)]
pub(super) struct Standing {
    granted: AtomicBool,
    changed: Event,
}

impl Standing {
    /// Returns whether the client has logged in or need not.
    pub(super) fn is_granted(&self) -> bool {
        self.granted.load(Ordering::SeqCst)
    }

    /// Returns a listener for a change. Create it before calling [`is_granted`](Self::is_granted).
    pub(super) fn listen(&self) -> EventListener {
        self.changed.listen()
    }

    fn set(&self, granted: bool) {
        if self.granted.swap(granted, Ordering::SeqCst) != granted {
            self.changed.notify(usize::MAX);
        }
    }
}

/// The rights of a connection.
#[derive(Debug)]
pub(super) struct Rights {
    login: Option<Login>,
    role: Option<Role>,
    standing: Arc<Standing>,
}

impl Rights {
    pub(super) fn new<R: Runtime>(clients: &Clients<R>) -> Rights {
        let role = clients.users.is_none().then_some(Role::Admin);
        let standing = Standing { granted: AtomicBool::new(role.is_some()), changed: Event::new() };
        Rights { login: None, role, standing: Arc::new(standing) }
    }

    /// Takes the rights back that a login gave.
    pub(super) fn reset<R: Runtime>(&mut self, clients: &Clients<R>) {
        self.login = None;
        self.role = clients.users.is_none().then_some(Role::Admin);
        self.standing.set(self.are_granted());
    }

    /// Returns whether the client has logged in or need not.
    pub(super) fn are_granted(&self) -> bool {
        self.role.is_some()
    }

    /// Returns whether the client sees details of the node and the cluster.
    pub(super) fn see_details(&self) -> bool {
        self.role.is_some_and(|role| role.permits(Access::Admin))
    }

    /// Returns the part that others watch.
    pub(super) fn standing(&self) -> Arc<Standing> {
        self.standing.clone()
    }

    /// Brings the rights up to date. Returns false if the user has none any more.
    pub(super) fn renew<R: Runtime>(&mut self, clients: &Clients<R>) -> bool {
        let (Some(login), Some(users)) = (&mut self.login, &clients.users) else { return true };
        let renewed = users.renew(login);
        self.role = Some(login.role());
        renewed
    }

    /// Returns the error that a command gets because of missing rights. `known` is its place in the table.
    pub(super) fn refusal(&self, known: Option<Known>, command: &Command, arguments: &Arguments<'_>) -> Option<String> {
        match self.role {
            Some(role) if role.permits(Access::of(command)) => None,
            Some(_) => Some(forbidden(arguments)),
            None if needs_no_login(known, command) => None,
            None => Some(LOGIN_NEEDED.to_owned()),
        }
    }

    /// Returns the error that a transaction gets because of rights that were taken away since its commands were queued.
    pub(super) fn refusal_of_transaction(&self, action: &Action) -> Option<String> {
        let Action::Exec(queue) = action else { return None };
        let permits = |access| self.role.is_some_and(|role| role.permits(access));
        let only_reads = queue.commands.iter().all(|command| matches!(command, WriteCommand::Read(_)));
        let permitted = permits(if only_reads { Access::Read } else { Access::Write })
            && queue.locals.iter().all(|(_, command)| permits(Access::of_local(command)));
        (!permitted).then(|| NO_TRANSACTION.to_owned())
    }

    /// Gives the client the rights of its user.
    pub(super) fn grant(&mut self, login: Login) {
        self.role = Some(login.role());
        self.login = Some(login);
        self.standing.set(true);
    }
}

/// Returns whether a connection may send a command before its client has logged in.
fn needs_no_login(known: Option<Known>, command: &Command) -> bool {
    matches!(command, Command::Local(LocalCommand::Http | LocalCommand::Rejected(_)))
        || known.is_some_and(|known| known.spec.flags.contains(&"no_auth"))
}

fn forbidden(arguments: &Arguments<'_>) -> String {
    let (name, subcommand) = (shown(arguments.peek(0)), shown(arguments.peek(1)));
    let known = find(format!("{name}|{subcommand}").as_bytes()).map(|spec| spec.name.to_owned());
    let name = known.unwrap_or_else(|| name.to_ascii_lowercase());
    format!("NOPERM this user has no permissions to run the '{name}' command")
}

/// Returns whether the commands after an action may be judged differently from those before it.
pub(super) fn changes_judgment(action: &Action) -> bool {
    let changes = |command: &LocalCommand| {
        matches!(
            command,
            LocalCommand::Auth(_)
                | LocalCommand::Reset
                | LocalCommand::Hello { login: Some(_), .. }
                | LocalCommand::ReadHere(_)
        )
    };
    match action {
        Action::Execute(Command::Local(command)) => changes(command),
        Action::Exec(queue) => queue.locals.iter().any(|(_, command)| changes(command)),
        _ => false,
    }
}
