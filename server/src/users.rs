//! The users of a node: who may log in, and what each may do.
//!
//! A slow hash is checked on one background thread, so that guessing passwords takes no time from the node's own threads.
//! Passwords that were right are remembered under a random key, so that clients that reconnect do not wait for it.

mod file;
mod role;
mod secret;
mod verified;

pub use file::UsersError;
pub(crate) use role::{Access, Role};
pub(crate) use secret::{hash_with_argon2, hash_with_sha256};

use crate::counters::Counter;
use crate::origin::origin;
use crate::timeout::within;
use async_channel::{Receiver, Sender};
use file::{Table, User};
use futures::channel::oneshot;
use leasehold_node::{Budget, Share};
use leasehold_runtime::{Runtime, ThreadPolicy};
use parking_lot::{Mutex, RwLock};
use secret::{Argon2Hash, Secret, verify_sha256};
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use verified::Verified;

/// The longest password. A longer one is wrong.
pub(crate) const MAX_PASSWORD_BYTES: usize = 4096;
/// The most passwords that wait for the thread.
const MAX_PENDING: usize = 64;
/// The passwords from one origin that are being checked, or were wrong a moment ago. Further ones wait in line, right or
/// wrong.
const MAX_PENDING_PER_ORIGIN: usize = 4;
/// The time for which a wrong password keeps its place, and its client waits for the reply. So one origin can try
/// [`MAX_PENDING_PER_ORIGIN`] passwords in this time, on any number of connections.
const FAILURE_DELAY: Duration = Duration::from_secs(1);
/// The time for which a password waits in line.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(10);

/// The reason why a client is not logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoginError {
    /// There is no such user, or the password is wrong.
    Wrong,
    /// Too many passwords are being checked.
    Busy,
}

/// A user that has logged in.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    name: String,
    secret: Secret,
    role: Role,
    generation: u64,
}

impl Login {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn role(&self) -> Role {
        self.role
    }
}

/// The users of a node.
#[derive(Debug)]
pub(crate) struct Users {
    path: PathBuf,
    table: RwLock<Arc<Table>>,
    /// Counts the times that the file was read.
    generation: AtomicU64,
    verified: Mutex<Verified>,
    origins: Mutex<HashMap<IpAddr, Arc<Budget>>>,
    /// The thread that checks passwords, which starts with the first. `None` inside if the system gave no thread.
    jobs: OnceLock<Option<Sender<Job>>>,
    /// Logins that failed.
    pub(crate) failures: Counter,
    /// Commands that were refused for the role of their user.
    pub(crate) forbidden: Counter,
}

#[derive(Debug)]
struct Job {
    hash: Argon2Hash,
    password: Vec<u8>,
    correct: oneshot::Sender<bool>,
}

impl Users {
    /// Reads the file of users.
    ///
    /// # Errors
    /// [`UsersError`] says what to change.
    pub(crate) fn read(path: PathBuf) -> Result<Users, UsersError> {
        let table = Table::read(&path)?;
        let verified = Verified::new().map_err(UsersError::Random)?;
        tracing::info!(users = table.users.len(), "clients must log in as one of the users in {}", path.display());
        Ok(Users {
            path,
            table: RwLock::new(Arc::new(table)),
            generation: AtomicU64::new(0),
            verified: Mutex::new(verified),
            origins: Mutex::default(),
            jobs: OnceLock::new(),
            failures: Counter::default(),
            forbidden: Counter::default(),
        })
    }

    /// Returns whether there is a user with this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.table.read().users.contains_key(name)
    }

    /// Reads the file again. If it cannot be used, the users stay as they are.
    ///
    /// # Errors
    /// [`UsersError`] says what to change.
    pub(crate) fn reload(&self) -> Result<usize, UsersError> {
        let table = Table::read(&self.path)?;
        let users = table.users.len();
        *self.table.write() = Arc::new(table);
        self.generation.fetch_add(1, Ordering::SeqCst);
        Ok(users)
    }

    /// Brings a login up to date. Returns false if the user was removed or has another password since.
    pub(crate) fn renew(&self, login: &mut Login) -> bool {
        let generation = self.generation.load(Ordering::SeqCst);
        if generation == login.generation {
            return true;
        }
        let table = self.table.read().clone();
        let Some(user) = table.users.get(&login.name).filter(|user| user.secret == login.secret) else { return false };
        (login.role, login.generation) = (user.role, generation);
        true
    }

    /// Checks a user's password. A wrong one takes as long as one of a user that does not exist.
    ///
    /// # Errors
    /// [`LoginError`].
    pub(crate) async fn log_in<R: Runtime>(
        &self,
        runtime: &R,
        from: IpAddr,
        name: &[u8],
        password: &[u8],
    ) -> Result<Login, LoginError> {
        // Read first: a file that is read again meanwhile has the login renewed.
        let generation = self.generation.load(Ordering::SeqCst);
        let table = self.table.read().clone();
        let found = str::from_utf8(name).ok().and_then(|name| table.users.get_key_value(name));
        let login = |name: &str, user: &User| Login {
            name: name.to_owned(),
            secret: user.secret.clone(),
            role: user.role,
            generation,
        };
        // Every password waits in line, also one that can be decided at once: of many guesses that are sent together, the
        // right one must not be answered before the wrong ones.
        let line = self.line(origin(from));
        let Some(place) = within(runtime, QUEUE_TIMEOUT, line.take(1)).await else {
            self.note_failure(from, name);
            return Err(LoginError::Busy);
        };
        let place = Place { runtime, share: Some(place) };
        match self.find(runtime, &table, found, password).await {
            Ok(Some((name, user))) => {
                place.leave();
                Ok(login(name, user))
            }
            Ok(None) => {
                self.note_failure(from, name);
                place.delay().await;
                Err(LoginError::Wrong)
            }
            Err(error) => {
                self.note_failure(from, name);
                Err(error)
            }
        }
    }

    /// Returns the user if the password is right.
    async fn find<'a, R: Runtime>(
        &self,
        runtime: &R,
        table: &Table,
        found: Option<(&'a String, &'a User)>,
        password: &[u8],
    ) -> Result<Option<(&'a String, &'a User)>, LoginError> {
        match found.map(|(name, user)| (name, user, &user.secret)) {
            Some((name, user, _)) if self.is_known(name, user, password) => Ok(Some((name, user))),
            Some((name, user, Secret::Argon2(hash))) if password.len() <= MAX_PASSWORD_BYTES => {
                let is_right = self.check(runtime, hash, password).await?;
                if is_right {
                    self.remember(name, user, password);
                }
                Ok(is_right.then_some((name, user)))
            }
            // Takes as long as the password of a user that exists.
            _ => {
                if let Some(hash) = &table.costliest {
                    let password = &password[..password.len().min(MAX_PASSWORD_BYTES)];
                    self.check(runtime, hash, password).await?;
                }
                Ok(None)
            }
        }
    }

    /// Returns whether a password is right, if that can be decided at once.
    fn is_known(&self, name: &str, user: &User, password: &[u8]) -> bool {
        match &user.secret {
            _ if password.len() > MAX_PASSWORD_BYTES => false,
            Secret::Sha256(hash) => verify_sha256(hash, password),
            Secret::Argon2(hash) => self.verified.lock().contains(name, &hash.text, password),
        }
    }

    fn remember(&self, name: &str, user: &User, password: &[u8]) {
        if let Secret::Argon2(hash) = &user.secret {
            self.verified.lock().insert(name, &hash.text, password);
        }
    }

    /// Returns the line in which the passwords of one origin wait.
    fn line(&self, origin: IpAddr) -> Arc<Budget> {
        let mut origins = self.origins.lock();
        if origins.len() > MAX_PENDING {
            // Those that no client uses.
            origins.retain(|_, places| Arc::strong_count(places) > 1);
        }
        origins.entry(origin).or_insert_with(|| Budget::new(MAX_PENDING_PER_ORIGIN)).clone()
    }

    /// Checks a password on the thread.
    async fn check<R: Runtime>(&self, runtime: &R, hash: &Argon2Hash, password: &[u8]) -> Result<bool, LoginError> {
        let jobs = self.jobs.get_or_init(|| start(runtime)).as_ref().ok_or(LoginError::Busy)?;
        let (correct, checked) = oneshot::channel();
        let job = Job { hash: hash.clone(), password: password.to_vec(), correct };
        // Those from many other addresses may be before it.
        let sent = within(runtime, QUEUE_TIMEOUT, jobs.send(job)).await;
        sent.and_then(Result::ok).ok_or(LoginError::Busy)?;
        checked.await.map_err(|_| LoginError::Busy)
    }

    /// Logs the first failure, the second, the fourth and so on, because anyone can cause as many as they want.
    fn note_failure(&self, from: IpAddr, name: &[u8]) {
        self.failures.add(1);
        let failures = self.failures.get();
        if failures.is_power_of_two() {
            let name = String::from_utf8_lossy(&name[..name.len().min(64)]).into_owned();
            tracing::warn!(failures, %from, user = ?name, "a client sent a wrong user or password, or one of too many");
        }
    }
}

/// A place at the front of the line. If its password was not right, it stays taken for a while, even if its client leaves.
struct Place<'a, R: Runtime> {
    runtime: &'a R,
    share: Option<Share>,
}

impl<R: Runtime> Place<'_, R> {
    /// Frees the place at once.
    fn leave(mut self) {
        self.share = None;
    }

    /// Frees the place after a while, and waits for that.
    async fn delay(mut self) {
        let _ = self.free_later().await;
    }

    fn free_later(&mut self) -> oneshot::Receiver<()> {
        let (sender, delayed) = oneshot::channel();
        if let Some(share) = self.share.take() {
            let sleep = self.runtime.sleep(FAILURE_DELAY);
            self.runtime.spawn(async move {
                sleep.await;
                drop(share);
                let _ = sender.send(());
            });
        }
        delayed
    }
}

impl<R: Runtime> Drop for Place<'_, R> {
    fn drop(&mut self) {
        drop(self.free_later());
    }
}

fn start<R: Runtime>(runtime: &R) -> Option<Sender<Job>> {
    let (sender, jobs) = async_channel::bounded(MAX_PENDING);
    match runtime.spawn_thread("passwords", ThreadPolicy::Batch, work(jobs)) {
        Ok(()) => Some(sender),
        Err(error) => {
            tracing::error!("no client can log in: cannot start a thread: {error}; raise the limit of threads");
            None
        }
    }
}

async fn work(jobs: Receiver<Job>) {
    while let Ok(Job { hash, password, correct }) = jobs.recv().await {
        if !correct.is_canceled() {
            let _ = correct.send(hash.verify(&password));
        }
    }
}
