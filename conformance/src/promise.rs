//! Tracks the promises that nodes make by their acknowledgements, and finds the input after which one is broken.

use crate::rule::Rule;
use crate::subject::{Broken, Kind};
use leasehold_core::{NodeId, Release, Term, TermRound};
use std::collections::BTreeMap;
use std::time::Duration;

/// The input of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// A message with this message of the engine, if any.
    Message(Option<Kind>),
    /// A tick.
    Tick,
    /// The command to campaign.
    Campaign,
    /// Another request of a client or an operator.
    Request,
}

/// The promises of one node, through all its processes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Promises {
    /// When each round first reached this process, and whether the message waited while the process was paused.
    arrived: BTreeMap<TermRound, (Duration, bool)>,
    newest: Option<Promise>,
    /// The newest release that came with an order to campaign. It is permanent.
    kept: Option<Release>,
    process: u64,
    /// The newest round that this process has sent as a leader, and the newest of the processes before it.
    opened: Option<TermRound>,
    opened_before: Option<TermRound>,
}

#[derive(Clone, Copy, Debug)]
struct Promise {
    through: TermRound,
    /// The hold must not end before this time: a hold after the round arrived.
    ends: Duration,
    waited: bool,
    process: u64,
}

impl Promises {
    /// Learns that the process was replaced.
    pub(crate) fn restart(&mut self) {
        self.arrived.clear();
        self.kept = None;
        self.process += 1;
        self.opened_before = self.opened_before.max(self.opened.take());
    }

    /// Learns that this process sends a round as a leader. Judges whether an earlier process may have sent it too.
    pub(crate) fn open(&mut self, id: NodeId, round: TermRound) -> Option<Broken> {
        self.opened = self.opened.max(Some(round));
        let before = self.opened_before.filter(|before| round <= *before)?;
        let what = format!(
            "n{id} has started again, and sends round {} of term {}; it had sent round {} of term {} before",
            round.round, round.term, before.round, before.term
        );
        Some(Broken { rule: Rule::TermLedOnce, what })
    }

    /// Learns that a round has arrived, with a message that waited for a paused process or not.
    pub(crate) fn see_round(&mut self, now: Duration, round: TermRound, waited: bool) {
        self.arrived.entry(round).or_insert((now, waited));
    }

    /// Learns that a release has arrived, with an order to campaign or with a request for a vote.
    pub(crate) fn see_release(&mut self, release: Release, kind: Option<Kind>) {
        if kind == Some(Kind::CampaignNow) {
            self.kept = self.kept.into_iter().chain([release]).max_by_key(|release| release.through);
        }
        let process = self.process;
        let covered = |promise: &&mut Promise| promise.through <= release.through && promise.process == process;
        if let Some(promise) = self.newest.as_mut().filter(covered) {
            // The round stays the newest: to repeat its acknowledgement is no new promise.
            promise.ends = Duration::ZERO;
        }
    }

    /// Learns that this process acknowledges a round, under this hold.
    pub(crate) fn acknowledge(&mut self, now: Duration, round: TermRound, hold: Duration) {
        if self.newest.is_some_and(|promise| promise.through >= round) {
            return;
        }
        let (arrived, waited) = self.arrived.get(&round).copied().unwrap_or((now, false));
        self.newest = Some(Promise { through: round, ends: arrived + hold, waited, process: self.process });
    }

    /// Judges a step in which the term rose from `before` to `after`. A node that helps to elect another leader raises its
    /// term first.
    pub(crate) fn judge(
        &self,
        now: Duration,
        id: NodeId,
        input: Input,
        campaigned: bool,
        [before, after]: [Term; 2],
    ) -> Option<Broken> {
        let promise = self.newest.filter(|promise| now < promise.ends && after > before)?;
        if self.kept.is_some_and(|kept| promise.process == self.process && promise.through <= kept.through) {
            return None;
        }
        let (rule, what) = match input {
            Input::Message(Some(Kind::AskVote)) => (Rule::VoteGate, "a request for a vote made it enter"),
            Input::Message(Some(Kind::CampaignNow)) => (Rule::TransferGate, "an order to campaign made it enter"),
            Input::Message(Some(Kind::Vote)) if campaigned => {
                (Rule::PreVoteGate, "the answer to a pre-vote made it enter")
            }
            Input::Tick => (Rule::TickGate, "a tick made it enter"),
            Input::Campaign => (Rule::CommandGate, "a command made it enter"),
            // A new leader, or an answer of a node that has heard of one: another quorum has elected it.
            Input::Message(_) | Input::Request => return None,
        };
        let rule = match promise {
            Promise { process, .. } if process != self.process => Rule::RestartHold,
            Promise { waited: true, .. } => Rule::FreshReading,
            _ => rule,
        };
        let TermRound { term, round } = promise.through;
        let left = (promise.ends - now).as_millis();
        let what =
            format!("n{id} had acknowledged round {round} of term {term}; {what} term {after}, {left}ms too early");
        Some(Broken { rule, what })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_acknowledgement_of_a_released_round_is_no_promise() {
        let (now, hold, round) = (Duration::from_secs(1), Duration::from_secs(1), TermRound { term: 1, round: 1 });
        let mut promises = Promises::default();
        promises.see_round(now, round, false);
        promises.acknowledge(now, round, hold);
        let judge = |promises: &Promises| promises.judge(now, 1, Input::Message(Some(Kind::AskVote)), false, [1, 2]);
        assert_eq!(judge(&promises).map(|broken| broken.rule), Some(Rule::VoteGate));
        promises.see_release(Release { through: round }, Some(Kind::AskVote));
        promises.acknowledge(now, round, hold);
        assert_eq!(judge(&promises), None);
    }
}
