//! The handshake: two nodes check that they belong together before they exchange frames.
//!
//! Each side opens with its versions and a nonce (`opening.rs`). Then the dialer sends a [`Hello`], and the acceptor
//! answers with its own and its verdict:
//!
//! ```text
//! dialer    opening ->
//!                   <- opening                                                                            acceptor
//!           u16 length | hello | verdict | proof ->
//!                   <- u16 length | hello | verdict | proof
//! verdict:  u8 | u16 length of the reason | reason
//!           0 accepted, and always by the dialer | 1 refused | 2 refused because of the folder | 3 not founded yet
//! proof:    32 bytes if both sides have a secret, else nothing
//! ```
//!
//! Both sides apply the same rules, so both report a mistake. What a later release adds to a hello is ignored. The
//! acceptor's hello is empty if it could not read the dialer's.
//!
//! A proof is the keyed BLAKE3 of the role, all messages before it, and the bytes of its own message before the proof. It
//! depends on the other side's nonce, so a recorded one is of no use. Nothing of a hello is acted on before its proof is
//! verified. The handshake alone is authenticated in this way; only TLS protects what follows.
//!
//! Each side records the other durably before it uses the connection ([`Meet`]).

use crate::hello::{Hello, Reader};
use crate::opening::{self, MAX_MESSAGE_BYTES, MAX_OPENING_BYTES, Nonce, Opening, PREFIX_BYTES};
use crate::secret::{PROOF_BYTES, PeerSecret, Role};
use crate::versions::Versions;
use futures::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use leasehold_core::{Config, NodeId};
use leasehold_node::identity::Introduction;
use leasehold_node::ports::{Lane, Meet, MeetError};
use leasehold_tls::Stream;
use std::fmt;
use std::io;
use std::num::NonZeroU16;
use std::sync::Arc;

pub use crate::error::HandshakeError;

/// The longest reason. A longer one is truncated.
const MAX_REASON_BYTES: usize = 512;

/// The acceptor's decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Accepted,
    Refused,
    RefusedFolder,
    NotFounded,
}

impl Verdict {
    const ALL: [Verdict; 4] = [Verdict::Accepted, Verdict::Refused, Verdict::RefusedFolder, Verdict::NotFounded];

    fn from_number(number: u8) -> Option<Verdict> {
        Verdict::ALL.get(usize::from(number)).copied()
    }

    fn of(error: &HandshakeError) -> Verdict {
        match error {
            HandshakeError::NotFounded => Verdict::NotFounded,
            HandshakeError::Identity(MeetError::Refused(_)) => Verdict::RefusedFolder,
            _ => Verdict::Refused,
        }
    }
}

/// The second message of each side.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    hello: Option<Hello>,
    verdict: Verdict,
    reason: String,
}

impl Answer {
    fn accepted(hello: Hello) -> Answer {
        Answer { hello: Some(hello), verdict: Verdict::Accepted, reason: String::new() }
    }

    /// Returns the content of its message, without the proof.
    fn encode(&self) -> Vec<u8> {
        let mut body = vec![0; 2];
        if let Some(hello) = &self.hello {
            hello.encode(&mut body);
        }
        let length = u16::try_from(body.len() - 2).expect("a hello is short");
        body[..2].copy_from_slice(&length.to_le_bytes());
        body.push(self.verdict as u8);
        let reason = &self.reason[..self.reason.floor_char_boundary(MAX_REASON_BYTES)];
        body.extend_from_slice(&u16::try_from(reason.len()).expect("it was truncated above").to_le_bytes());
        body.extend_from_slice(reason.as_bytes());
        body
    }

    fn decode(body: &[u8]) -> Option<Answer> {
        let mut bytes = Reader(body);
        let length = usize::from(bytes.u16()?);
        let mut hello = Reader(bytes.take(length)?);
        // What follows the known fields is of a later release.
        let hello = if length > 0 { Some(Hello::decode(&mut hello)?) } else { None };
        let verdict = Verdict::from_number(bytes.u8()?)?;
        let length = usize::from(bytes.u16()?);
        let reason = bytes.text(length).filter(|reason| reason.len() <= MAX_REASON_BYTES)?;
        bytes.0.is_empty().then_some(Answer { hello, verdict, reason })
    }
}

/// A dialer that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its hello.
    pub hello: Hello,
    /// The version that both speak.
    pub version: u16,
}

/// This node, and the keeper that decides which peers it accepts.
#[derive(Clone)]
pub struct Identity {
    pub node: NodeId,
    pub cluster: String,
    pub groups: NonZeroU16,
    pub config: Config,
    pub registrar: Arc<dyn Meet>,
    pub versions: Versions,
    pub secret: Option<PeerSecret>,
    /// Draws the nonce of a handshake.
    pub draw: fn() -> io::Result<Nonce>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("node", &self.node).field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

/// Returns the DNS name in the certificate of a node.
pub fn certificate_name(node: NodeId, cluster: &str) -> String {
    format!("node-{node}.{cluster}.leasehold")
}

/// Draws a nonce from the system's randomness.
pub(crate) fn draw_nonce() -> io::Result<Nonce> {
    let mut nonce = Nonce::default();
    getrandom::fill(&mut nonce).map_err(io::Error::from)?;
    Ok(nonce)
}

impl Identity {
    fn hello(&self, to: NodeId, lane: Option<Lane>) -> Hello {
        let (cluster, timing) = (self.cluster.clone(), self.config.timing());
        Hello { introduction: self.registrar.introduction(), to, lane, timing, cluster, groups: self.groups }
    }

    fn opening(&self) -> io::Result<Opening> {
        let (versions, proves_secret) = (self.versions, self.secret.is_some());
        Ok(Opening { versions, proves_secret, nonce: (self.draw)()? })
    }

    /// Judges the other side's opening, and returns the version of the link.
    fn check_opening(&self, theirs: &[u8]) -> Result<u16, HandshakeError> {
        let theirs = Opening::decode(theirs).ok_or(HandshakeError::Malformed)?;
        match (self.secret.is_some(), theirs.proves_secret) {
            (true, false) => return Err(HandshakeError::SecretMissingThere),
            (false, true) => return Err(HandshakeError::SecretMissingHere),
            _ => {}
        }
        let none = HandshakeError::NoCommonVersion { theirs: theirs.versions, ours: self.versions };
        self.versions.common(theirs.versions).ok_or(none)
    }

    /// Applies the rules that are the same for both sides.
    fn check(&self, hello: &Hello) -> Result<(), HandshakeError> {
        if hello.cluster != self.cluster {
            return Err(HandshakeError::OtherCluster { theirs: hello.cluster.clone(), ours: self.cluster.clone() });
        }
        if hello.from() == self.node {
            let myself = hello.introduction.run() == self.registrar.introduction().run();
            return Err(if myself { HandshakeError::Myself } else { HandshakeError::SameNumber { node: self.node } });
        }
        if hello.groups != self.groups {
            return Err(HandshakeError::OtherGroups { theirs: hello.groups, ours: self.groups });
        }
        self.config.accept_peer(hello.timing).map_err(HandshakeError::NotCovered)
    }

    fn check_dialer<S>(&self, hello: &Hello, stream: &Stream<S>) -> Result<(), HandshakeError> {
        self.check(hello)?;
        if hello.to != self.node {
            return Err(HandshakeError::DialedOther { wanted: hello.to, ours: self.node });
        }
        if stream.is_encrypted() {
            let name = certificate_name(hello.from(), &self.cluster);
            stream.check_certificate(&name).map_err(HandshakeError::Tls)?;
        }
        Ok(())
    }

    fn check_acceptor(&self, hello: &Hello, expected: NodeId) -> Result<(), HandshakeError> {
        self.check(hello)?;
        if hello.from() != expected {
            return Err(HandshakeError::OtherNode { theirs: hello.from(), expected });
        }
        Ok(())
    }

    /// Records the peer durably, unless its folder must not take part or no cluster is founded yet.
    async fn meet(&self, hello: &Hello) -> Result<(), HandshakeError> {
        match self.registrar.meet(hello.introduction.clone()).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(HandshakeError::NotFounded),
            Err(error) => Err(error.into()),
        }
    }

    /// Runs the dialer's side on a stream that was made for the node `to`. After `Ok` the connection carries frames of the
    /// version returned.
    pub async fn dial<S>(&self, stream: &mut Stream<S>, to: NodeId, lane: Lane) -> Result<u16, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (version, Answer { hello, verdict, reason }) = self.ask(stream, self.hello(to, Some(lane))).await?;
        // This node's own check first: its text is for the reader of this node's log.
        if let Some(hello) = &hello {
            self.check_acceptor(hello, to)?;
            self.meet(hello).await?;
        }
        let for_its_folder = match verdict {
            Verdict::Accepted if hello.is_none() => return Err(HandshakeError::Malformed),
            Verdict::Accepted => {
                self.registrar.judged_by(to, None);
                return Ok(version);
            }
            Verdict::NotFounded => return Err(HandshakeError::NotFounded),
            Verdict::Refused => false,
            Verdict::RefusedFolder => true,
        };
        // Logs and `INFO` show it in one line: it must not forge further lines.
        let reason = reason.replace(char::is_control, " ");
        if for_its_folder {
            self.registrar.judged_by(to, Some(&reason));
        }
        Err(HandshakeError::Refused { ours: self.node, reason, for_its_folder })
    }

    /// Runs the dialer's side for a connection that carries nothing afterwards. Returns the acceptor's introduction,
    /// whatever its verdict. Neither side records the other.
    pub async fn probe<S>(&self, stream: &mut Stream<S>, to: NodeId) -> Result<Introduction, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (_, answer) = self.ask(stream, self.hello(to, None)).await?;
        let hello = answer.hello.ok_or(HandshakeError::Malformed)?;
        self.check_acceptor(&hello, to)?;
        Ok(hello.introduction)
    }

    /// Exchanges the messages of the dialer's side. Returns the version of the link and the acceptor's answer, which it
    /// has proved.
    async fn ask<S>(&self, stream: &mut S, hello: Hello) -> Result<(u16, Answer), HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let ours = self.opening()?.encode();
        opening::write(stream, &ours).await?;
        let theirs = opening::read(stream, MAX_OPENING_BYTES).await?;
        let version = self.check_opening(&theirs)?;
        let mut said = vec![ours, theirs];
        let hello = self.prove(Role::Dialer, &said, &Answer::accepted(hello));
        opening::write(stream, &hello).await?;
        said.push(hello);
        let answer = opening::read(stream, MAX_MESSAGE_BYTES).await?;
        Ok((version, self.verify(Role::Acceptor, &said, &answer)?))
    }

    /// Runs the acceptor's side. Returns the dialer, or the error and the number that the dialer gave.
    pub async fn accept<S>(&self, stream: &mut Stream<S>) -> Result<Accepted, (Option<NodeId>, HandshakeError)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (version, mut said) = self.accept_opening(stream).await.map_err(|error| (None, error))?;
        let message = opening::read(stream, MAX_MESSAGE_BYTES).await.map_err(|error| (None, error))?;
        let heard = self.verify(Role::Dialer, &said, &message);
        said.push(message);
        let (hello, verdict) = match heard.and_then(|answer| answer.hello.ok_or(HandshakeError::Malformed)) {
            Ok(hello) => {
                let verdict = match self.check_dialer(&hello, stream) {
                    // A probe must not change what this node knows of its peers.
                    Ok(()) if hello.lane.is_some() => self.meet(&hello).await,
                    verdict => verdict,
                };
                (Some(hello), verdict)
            }
            Err(error) => (None, Err(error)),
        };
        let claimed = hello.as_ref().map(Hello::from);
        let answer = Answer {
            // A dialer that proves nothing learns nothing.
            hello: hello.as_ref().map(|hello| self.hello(hello.from(), hello.lane)),
            verdict: verdict.as_ref().map_or_else(Verdict::of, |()| Verdict::Accepted),
            reason: verdict.as_ref().map_or_else(ToString::to_string, |()| String::new()),
        };
        let written = opening::write(stream, &self.prove(Role::Acceptor, &said, &answer)).await;
        match (verdict, written, hello) {
            (Ok(()), Ok(()), Some(hello)) => Ok(Accepted { hello, version }),
            (Err(error), _, _) => Err((claimed, error)),
            (Ok(()), Err(error), _) => Err((claimed, error.into())),
            (Ok(()), Ok(()), None) => Err((claimed, HandshakeError::Malformed)),
        }
    }

    /// Exchanges the openings. Returns the version of the link and both messages, the dialer's first.
    async fn accept_opening<S>(&self, stream: &mut S) -> Result<(u16, Vec<Vec<u8>>), HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let ours = self.opening()?.encode();
        let theirs = match opening::read(stream, MAX_OPENING_BYTES).await {
            Ok(theirs) => theirs,
            Err(error) => {
                // This node's opening lets the dialer name the mistake too. Another protocol's client gets no answer.
                match error {
                    HandshakeError::OtherVersion { .. } | HandshakeError::Malformed => {
                        opening::write(stream, &ours).await?;
                    }
                    HandshakeError::UnexpectedTls => {
                        opening::write(stream, &ours).await?;
                        // Closing a connection with unread bytes resets it, and the answer could be lost.
                        let _ = stream.read(&mut [0; MAX_OPENING_BYTES]).await;
                    }
                    _ => {}
                }
                return Err(error);
            }
        };
        opening::write(stream, &ours).await?;
        let version = self.check_opening(&theirs)?;
        Ok((version, vec![theirs, ours]))
    }

    /// Returns the message of an answer, with the proof that follows what was said.
    fn prove(&self, role: Role, said: &[Vec<u8>], answer: &Answer) -> Vec<u8> {
        let body = answer.encode();
        let Some(secret) = &self.secret else { return opening::message(&body) };
        let mut message = opening::prefix(body.len() + PROOF_BYTES).to_vec();
        message.extend_from_slice(&body);
        let proof = secret.prove(role, said, &message);
        message.extend_from_slice(&proof);
        message
    }

    /// Returns the answer in a message of the other side, whose role this is.
    fn verify(&self, role: Role, said: &[Vec<u8>], message: &[u8]) -> Result<Answer, HandshakeError> {
        let message = match &self.secret {
            None => message,
            Some(secret) => {
                let (message, proof) = message.split_last_chunk().ok_or(HandshakeError::Malformed)?;
                if !secret.verify(role, said, message, *proof) {
                    return Err(HandshakeError::WrongSecret);
                }
                message
            }
        };
        message.get(PREFIX_BYTES..).and_then(Answer::decode).ok_or(HandshakeError::Malformed)
    }
}

#[cfg(test)]
mod tests;
