//! Logging in.

use super::registry::Flow;
use super::session::Session;
use super::watched::Watched;
use crate::command::{ClientCommand, Credentials, LocalCommand, ReplyMode};
use crate::keyspace::ReadCommand;
use crate::timeout::within;
use crate::users::LoginError;
use futures::future::{Either, select};
use leasehold_runtime::Runtime;
use std::pin::pin;
use std::slice::from_ref;
use std::time::Duration;

/// The time for which a login of a client that has closed its end is still waited for: a wrong password takes a second.
const LEFT_TIMEOUT: Duration = Duration::from_secs(2);

const NO_USERS: &str =
    "ERR there are no users or passwords here; omit AUTH, or start the node with --users to require them";
const LOGIN_NEEDED_BEFORE_HELLO: &str = "NOAUTH HELLO must be called with the client already authenticated, otherwise \
                                         the HELLO AUTH <user> <pass> option can be used to authenticate the \
                                         client and select the RESP protocol version at the same time";
const WRONG_PASSWORD: &str = "WRONGPASS invalid username-password pair or user is disabled.";
const BUSY: &str = "BUSY too many passwords are being checked; nothing was done; try again later";

impl<R: Runtime> Session<'_, R> {
    /// Executes a command about the connection or the node.
    pub(super) async fn execute_local(&mut self, command: &LocalCommand) -> Flow {
        match command {
            LocalCommand::Auth(credentials) => match Box::pin(self.log_in(credentials)).await {
                Ok(()) => self.out.status("OK"),
                Err(error) => self.out.error(error),
            },
            LocalCommand::Hello { login, .. } => {
                let refused = match login {
                    Some(credentials) => Box::pin(self.log_in(credentials)).await.err(),
                    None => (!self.rights.are_granted()).then_some(LOGIN_NEEDED_BEFORE_HELLO),
                };
                match refused {
                    Some(error) => self.out.error(error),
                    None => return self.connection.execute(command, true, &mut self.out),
                }
            }
            LocalCommand::Reset => {
                self.rights.reset(self.clients);
                self.wire.set_before_login(!self.rights.are_granted());
                self.connection.reset();
                self.watched = Watched::default();
                self.reads_here = false;
                self.out.reset();
                self.out.status("RESET");
            }
            LocalCommand::ReadHere(reads_here) => {
                self.reads_here = *reads_here;
                self.out.status("OK");
            }
            LocalCommand::Unwatch => {
                self.watched = Watched::default();
                self.out.status("OK");
            }
            LocalCommand::Client(ClientCommand::Reply(ReplyMode::On)) => {
                self.out.turn_on();
                self.out.status("OK");
            }
            LocalCommand::Client(ClientCommand::Reply(ReplyMode::Off)) => self.out.turn_off(),
            LocalCommand::Client(ClientCommand::Reply(ReplyMode::Skip)) => self.out.skip_next(),
            LocalCommand::MemoryUsage(key) => {
                self.group = self.clients.facts.slots.group_of_key(key);
                if self.may_read(&ReadCommand::of_keys(from_ref(key))).await {
                    let bytes = self.executor().view().with(|content| content.bytes_of(key));
                    match bytes {
                        Some(bytes) => self.out.integer(i64::try_from(bytes).unwrap_or(i64::MAX)),
                        None => self.out.null(),
                    }
                }
            }
            command => {
                let see_details = self.rights.see_details();
                return self.connection.execute(command, see_details, &mut self.out);
            }
        }
        Flow::Continue
    }

    /// Boxed by its callers, because every session would have the memory for it.
    async fn log_in(&mut self, credentials: &Credentials) -> Result<(), &'static str> {
        let users = self.clients.users.as_ref().ok_or(NO_USERS)?;
        // The client may wait for the replies to earlier commands before it sends more.
        let _ = self.flush().await;
        let Credentials { user, password } = credentials;
        let from = self.connection.address().ip();
        let runtime = self.clients.runtime();
        let checked = users.log_in(runtime, from, user, password);
        // A client that has left keeps its place among the connections for a moment only. One that has closed its end may
        // still wait for the reply.
        let checked = match select(pin!(checked), pin!(self.wire.ended())).await {
            Either::Left((checked, _)) => checked,
            Either::Right((_, checked)) => {
                within(runtime, LEFT_TIMEOUT, checked).await.unwrap_or(Err(LoginError::Busy))
            }
        };
        match checked {
            Ok(login) => {
                self.connection.set_user(login.name());
                self.rights.grant(login);
                self.wire.set_before_login(false);
                Ok(())
            }
            Err(LoginError::Wrong) => Err(WRONG_PASSWORD),
            Err(LoginError::Busy) => Err(BUSY),
        }
    }
}
