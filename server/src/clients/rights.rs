//! What a connection may do.

use super::shared::Clients;
use crate::command::{Command, LocalCommand, shown};
use crate::keyspace::WriteCommand;
use crate::resp::Arguments;
use crate::users::{Access, Login, Role, needs_no_login};
use leasehold_runtime::Runtime;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const LOGIN_NEEDED: &str = "NOAUTH Authentication required.";
const NO_TRANSACTION: &str =
    "NOPERM this user may not execute the commands of this transaction any more; none was executed";

/// The rights of a connection.
#[derive(Debug)]
pub(super) struct Rights {
    login: Option<Login>,
    role: Option<Role>,
    /// True once the client has all the rights that it needs to stay connected.
    settled: Arc<AtomicBool>,
}

impl Rights {
    pub(super) fn new<R: Runtime>(clients: &Clients<R>) -> Rights {
        let role = clients.users.is_none().then_some(Role::Admin);
        Rights { login: None, role, settled: Arc::new(AtomicBool::new(role.is_some())) }
    }

    /// Returns whether the client has logged in or need not.
    pub(super) fn are_granted(&self) -> bool {
        self.role.is_some()
    }

    /// Returns whether the client sees details of the node and the cluster.
    pub(super) fn see_details(&self) -> bool {
        self.role.is_some_and(|role| role.permits(Access::Admin))
    }

    /// Returns a flag that is set once the client has logged in.
    pub(super) fn settled(&self) -> Arc<AtomicBool> {
        self.settled.clone()
    }

    /// Brings the rights up to date. Returns false if the user has none any more.
    pub(super) fn renew<R: Runtime>(&mut self, clients: &Clients<R>) -> bool {
        let (Some(login), Some(users)) = (&mut self.login, &clients.users) else { return true };
        let renewed = users.renew(login);
        self.role = Some(login.role());
        renewed
    }

    /// Returns the error that a command gets because of missing rights.
    pub(super) fn refusal(&self, command: &Command, arguments: &Arguments<'_>) -> Option<String> {
        match self.role {
            Some(role) if role.permits(Access::of(command)) => None,
            Some(_) => Some(forbidden(command, arguments)),
            None if needs_no_login(command) => None,
            None => Some(LOGIN_NEEDED.to_owned()),
        }
    }

    /// Returns the error that a transaction gets because of rights that were taken away since its commands were queued.
    pub(super) fn refusal_of_entry(&self, command: &Command) -> Option<String> {
        let Command::Entry(commands) = command else { return None };
        let only_reads = commands.iter().all(|command| matches!(command, WriteCommand::Read(_)));
        let access = if only_reads { Access::Read } else { Access::Write };
        (!self.role.is_some_and(|role| role.permits(access))).then(|| NO_TRANSACTION.to_owned())
    }

    /// Gives the client the rights of its user.
    pub(super) fn grant(&mut self, login: Login) {
        self.role = Some(login.role());
        self.login = Some(login);
        self.settled.store(true, Ordering::Relaxed);
    }
}

fn forbidden(command: &Command, arguments: &Arguments<'_>) -> String {
    let mut name = shown(arguments.peek(0)).to_ascii_lowercase();
    if matches!(command, Command::Local(LocalCommand::ConfigGet(_))) {
        name.push_str("|get");
    }
    format!("NOPERM this user has no permissions to run the '{name}' command")
}

/// Returns whether a command changes the rights that the commands after it need.
pub(super) fn changes_rights(command: &Command) -> bool {
    matches!(
        command,
        Command::Local(LocalCommand::Auth(_) | LocalCommand::Reset | LocalCommand::Hello { login: Some(_), .. })
    )
}
