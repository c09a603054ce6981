//! The holder and the grantor of one node, as a search needs them: values that can be copied, compared and hashed.

use crate::model::Model;
use crate::rules::Rules;
use leasehold_core::trace::{Answer, Effect, Input};
use leasehold_core::{Config, Grantor, Holder, Instant, LeaseCell, NodeId, Permit, Read, Reading, Release};
use std::time::Duration;

/// Selects the machines that a node runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// The holder and grantor of the product.
    Product,
    /// The model, with these rules.
    Model(Rules),
    /// The product and the model with all rules. They panic where they differ.
    Compared,
}

/// The machines of one node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Machine {
    /// See [`Subject::Product`].
    Product(Box<Product>),
    /// See [`Subject::Model`].
    Model(Box<Model>),
    /// See [`Subject::Compared`].
    Compared(Box<(Product, Model)>),
}

/// The holder and grantor of the product.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Product {
    holder: Holder,
    grantor: Grantor,
}

impl Machine {
    /// Starts a process that never echoed under a longer hold than the configured one.
    pub fn start(subject: Subject, node: NodeId, config: Config, now: Reading) -> Machine {
        let product =
            || Product { holder: Holder::new(node, config), grantor: Grantor::new(config, Duration::ZERO, now) };
        let model = |rules| Model::start(rules, node, config, Duration::ZERO, now);
        match subject {
            Subject::Product => Machine::Product(Box::new(product())),
            Subject::Model(rules) => Machine::Model(Box::new(model(rules))),
            Subject::Compared => Machine::Compared(Box::new((product(), model(Rules::ALL)))),
        }
    }

    /// Takes one input and returns its effect, with all actions taken.
    ///
    /// # Panics
    /// If product and model are compared and differ.
    pub fn handle(&mut self, now: Reading, input: Input, cell: &LeaseCell) -> Effect {
        match self {
            Machine::Product(product) => product.handle(now, input, cell),
            Machine::Model(model) => model.handle(now, input),
            Machine::Compared(both) => {
                let (product, model) = &mut **both;
                let effect = product.handle(now, input, cell);
                assert_eq!(effect, model.handle(now, input), "the product on the left, the model on the right");
                effect
            }
        }
    }

    /// Returns when the lease ends, if there is one.
    pub fn lease_until(&self) -> Option<Instant> {
        match self {
            Machine::Product(product) => product.holder.lease_until(),
            Machine::Compared(both) => both.0.holder.lease_until(),
            Machine::Model(model) => model.lease_until(),
        }
    }

    /// Returns what a reader thread is granted. `cell` is the one that the product's holder published to.
    pub fn permit(&self, now: Reading, cell: &LeaseCell) -> Option<Permit> {
        match self {
            Machine::Product(_) | Machine::Compared(..) => cell.try_read(now),
            Machine::Model(model) => model.permit(now),
        }
    }

    /// Returns the release that a pending transfer sends along.
    pub fn release(&self) -> Option<Release> {
        match self {
            Machine::Product(product) => product.holder.release(),
            Machine::Compared(both) => both.0.holder.release(),
            Machine::Model(model) => model.release(),
        }
    }
}

impl Product {
    fn handle(&mut self, now: Reading, input: Input, cell: &LeaseCell) -> Effect {
        let Product { holder, grantor } = self;
        let answer = match input {
            Input::Event(event) => {
                holder.handle_event(now, event, cell).expect("the search sends events that a driver may send");
                None
            }
            Input::QuorumRead => Some(Answer::Read(holder.quorum_read(now, cell).map(Read::Quorum))),
            Input::Frame(round) => Some(Answer::Echo(grantor.handle_round(now, round))),
            Input::MayElect(release) => Some(Answer::MayElect(grantor.may_vote_or_campaign(now, release))),
            Input::Start { .. } | Input::Timeout | Input::Read | Input::Look => {
                unreachable!("the abstract Raft has no use for {input:?}")
            }
        };
        let mut effect = Effect::seen(answer, holder, grantor);
        while let Some(action) = holder.poll_action() {
            effect.add(action);
        }
        // Statistics only grow, and no rule depends on them: with them, no state would be reached twice.
        holder.take_statistics();
        effect
    }
}
