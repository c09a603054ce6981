//! Local reads: a node that follows answers linearizable reads from its own state, without a message.
//!
//! A *reader* asks its leader for a *sublease*, which the leader cuts from its own lease. [`Lender`] grants it and keeps the
//! *obligation*: until the obligation has ended, nothing is exposed that the reader has not acknowledged. [`Reader`]
//! publishes the sublease in a [`LeaseCell`](crate::LeaseCell) of its own. Rules and proof are in the project's
//! `docs/protocol.md`, under "Local reads".
//!
//! ```
//! use leasehold_core::local::{Lender, Reader};
//! use leasehold_core::{Action, Config, Event, Grantor, Holder, Instant, LeaseCell, Options, Voters};
//! use std::time::Duration;
//!
//! let millis = |ms: u64| Some(Instant::from_nanos(ms * 1_000_000, ms * 1_000_000)); // your clock
//! let config = Config::new(Options::new(Duration::from_secs(1), 1000))?;
//! let (mut holder, mut lender, cell) = (Holder::new(1, config), Lender::new(config), LeaseCell::new());
//! let mut grantor = Grantor::new(config, Duration::ZERO, millis(0));
//! let (mut reader, reads) = (Reader::new(config, 1), LeaseCell::new());
//!
//! // Node 1 leads in term 4. Everything up to the entry that opens its term is committed, and node 2 has it.
//! let voters = Voters::simple(&[1, 2, 3])?;
//! lender.elected(4);
//! let exposed = lender.advance(millis(5000), 7, None, |_| Some(7));
//! holder.handle_event(millis(5000), Event::Elected { term: 4, voters, barrier: 7, commit: exposed }, &cell)?;
//! let Some(Action::SendRound(round)) = holder.poll_action() else { panic!("a round is due") };
//!
//! // Node 2 follows, echoes the round, and asks.
//! reader.follows(4, 1, &reads);
//! reader.received(Some(7), &reads);
//! let echo = grantor.handle_round(millis(5001), round).expect("a new round");
//! let request = reader.request(millis(5001), &reads).expect("it follows a leader");
//!
//! // Node 1 holds a lease with the echo, and grants.
//! holder.handle_event(millis(5002), Event::Acked { from: 2, round: echo }, &cell)?;
//! let grant = lender.handle_request(millis(5002), &mut holder, &cell, 2, Some(7), request).expect("a lease");
//! reader.handle_grant(millis(5003), 1, grant, &reads);
//! assert_eq!(reads.try_read(millis(5004)).expect("a sublease, from any thread").index, 7);
//!
//! // Entry 8 is committed. It is exposed once node 2 has it, or when the obligation has ended.
//! assert_eq!(lender.advance(millis(5010), 8, None, |_| Some(7)), 7);
//! assert!(lender.is_obligated(millis(5010)));
//! assert_eq!(lender.advance(millis(6010), 8, None, |_| Some(7)), 8);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod lender;
mod messages;
mod reader;

pub use lender::{Lender, LenderStatistics, MAX_READERS};
pub use messages::{Grant, Request, RequestNumber, Return};
pub use reader::{Reader, ReaderStatistics};
