//! Many groups on a node: one round for all groups that it leads, and one support for each node that it follows.
//!
//! With a [`Holder`](crate::Holder) and a [`Grantor`](crate::Grantor) for each group, each group sends rounds of its own, so
//! its upkeep grows with the number of groups. These machines move the rounds from the group to the pair of nodes:
//!
//! | | of a node | for each peer | for each group |
//! | --- | --- | --- | --- |
//! | leader | [`NodeRounds`] opens rounds | [`Echoes`] has the newest echo | [`GroupHolder`] decides about the lease |
//! | voter | [`Supporter`] keeps the promises | [`Support`] has the epoch and its hold | [`Attachment`] is the promise |
//!
//! A voter's echo holds it for a leader's *node*. An attachment ties this hold to one group: while the epoch of the
//! support lasts, the voter helps to elect no other leader of that group. Rules and proof are in the project's
//! `docs/protocol.md`, under "Many groups: rounds of a node".
//!
//! The engine of a group must never lead a term twice, also after a restart, and must not vote out of sight. That excludes
//! openraft.
//!
//! Nothing is allocated here. The caller keeps the `Echoes` and `Support` of each peer, and the `GroupHolder` and
//! `Attachment` of each group. No engine of this project uses these machines yet; it uses a holder and a grantor for each
//! group.
//!
//! ```
//! use leasehold_core::groups::{Attachment, Echoes, GroupHolder, NodeRounds, Support, Supporter};
//! use leasehold_core::{Config, Instant, LeaseCell, Options, Voters};
//! use std::time::Duration;
//!
//! let millis = |ms: u64| Some(Instant::from_nanos(ms * 1_000_000, ms * 1_000_000)); // your clock
//! let config = Config::new(Options::new(Duration::from_secs(1), 1000))?;
//! let (mut rounds, mut group, cell) = (NodeRounds::new(config, 1), GroupHolder::new(1), LeaseCell::new());
//! let mut followers = [2, 3].map(|id| (id, Supporter::new(config, 1, Duration::ZERO, millis(0)), Echoes::default()));
//!
//! // The group's engine elected node 1 in term 4, and has committed the entry that opens its term.
//! group.elected(4, Voters::simple(&[1, 2, 3])?, 7, 7)?;
//! assert!(rounds.handle_timeout(millis(5000)), "a heartbeat interval has passed");
//! let (round, offer) = (rounds.frame_round().expect("opened"), group.offer().expect("it leads"));
//! for (from, supporter, echoes) in &mut followers {
//!     // On the follower: the frame has the round, and the offer of each group that is awake.
//!     let (mut support, mut attachment) = (Support::new(1), Attachment::new());
//!     let echo = supporter.handle_round(millis(5001), &mut support, round).expect("a new round");
//!     let attached = supporter.attach(&support, &mut attachment, round.boot, offer).expect("a new offer");
//!     assert!(!supporter.may_vote_or_campaign(millis(5900), &mut attachment, Some(&mut support), None));
//!     // On the leader. The next echo alone extends the lease, of this and all other groups.
//!     echoes.handle_echo(&rounds, echo);
//!     assert_eq!(group.handle_attached(*from, attached), None);
//! }
//! let newest = |peer| followers.iter().find(|(id, ..)| *id == peer).and_then(|(.., echoes)| echoes.newest());
//! group.publish(&rounds, newest, &cell);
//! assert_eq!(cell.try_read(millis(5005)).expect("a lease").index, 7);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod attachment;
mod group_holder;
mod node_rounds;
mod numbers;
mod supporter;

pub use attachment::Attachment;
pub use group_holder::GroupHolder;
pub use node_rounds::{Echoes, NodeRounds};
pub use numbers::{Attached, Boot, Echo, Epoch, GroupRelease, NodeRound, Offer};
pub use supporter::{Support, Supporter};
