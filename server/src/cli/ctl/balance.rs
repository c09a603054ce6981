//! Spreads the leaders of the groups over the voters.

use super::changes::{Change, Changes, PAUSE, now};
use super::survey::Survey;
use crate::spread::Spread;
use crate::status::{MemberStatus, Part};

impl Changes<'_> {
    /// Moves one leader after the other, until each voter that answers leads as many groups as another one, but for a
    /// difference of one. Prints a line for each move, and returns the last one.
    ///
    /// # Errors
    /// The reason, in one line that says what to do.
    pub(super) fn balance(&mut self) -> Result<String, String> {
        let started = now();
        let mut moves = 0;
        loop {
            let survey = self.look();
            let missing = match spread_of(&survey) {
                Err(missing) => missing,
                Ok(spread) => match (spread.next_move(), spread.leaderless()) {
                    (Some((group, to)), _) => {
                        // It may have been moved by the nodes themselves meanwhile.
                        println!("  ... {}", self.make(&Change::Transfer { group: Some(group), to })?);
                        moves += 1;
                        "the leaders are not spread yet".to_owned()
                    }
                    (None, Some(group)) => format!("no voter that answers leads group {group}"),
                    (None, None) => return Ok(summary(&spread, moves)),
                },
            };
            if started.elapsed() > self.limit {
                return Err(format!("given up after {} s and {moves} moves: {missing}", self.limit.as_secs()));
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// Returns the leaders of all groups and the voters that answered, or the reason why they are unknown.
fn spread_of(survey: &Survey) -> Result<Spread, String> {
    // The leader of a group knows best who leads it. Any node may lead none.
    let of_group = |group: usize| {
        let told = survey.nodes.values().filter_map(|node| node.groups.get(group));
        told.max_by_key(|told| (told.term, told.leader.is_some()))?.leader
    };
    let Some(informed) = survey.leader().or_else(|| survey.nodes.values().max_by_key(|node| node.members_changed))
    else {
        return Err(survey
            .failures
            .iter()
            .next()
            .map_or("no node answers".to_owned(), |(address, why)| format!("{address} {why}")));
    };
    // A cluster of one group does not list it.
    let leaders = match informed.groups.len() {
        0 => vec![survey.leader().map(|leader| leader.node)],
        groups => (0..groups).map(of_group).collect(),
    };
    // One that is to go would hand everything over again, and one that does not vote in a group cannot lead it.
    let stays = |member: &&MemberStatus| {
        let is_replaced = informed.members.iter().any(|other| other.replaces == Some(member.node));
        let votes_everywhere = member.votes_in.is_none_or(|groups| groups == informed.groups.len());
        member.part == Part::Voter && votes_everywhere && !is_replaced && survey.nodes.contains_key(&member.node)
    };
    Ok(Spread::new(leaders, informed.members.iter().filter(stays).map(|member| member.node)))
}

fn summary(spread: &Spread, moves: usize) -> String {
    let shares: Vec<_> = spread.led().iter().map(|(node, led)| format!("node {node} leads {led}")).collect();
    let moved = match moves {
        0 => "no leader had to move".to_owned(),
        1 => "1 leader moved".to_owned(),
        moves => format!("{moves} leaders moved"),
    };
    format!("the leaders are spread: {} ({moved})", shares.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{GroupStatus, NodeStatus};

    fn survey(leaders: &[Option<u64>]) -> Survey {
        let groups = leaders.iter().zip(0..).map(|(leader, group)| GroupStatus {
            group,
            leader: *leader,
            ..GroupStatus::default()
        });
        let member = |node| MemberStatus { node, part: Part::Voter, ..MemberStatus::default() };
        let mut status = NodeStatus { node: 1, groups: groups.collect(), ..NodeStatus::default() };
        status.members = [1, 2, 3].map(member).to_vec();
        let mut survey = Survey::default();
        for node in [1, 2] {
            survey.nodes.insert(node, NodeStatus { node, ..status.clone() });
        }
        survey
    }

    #[test]
    fn only_voters_that_answer_take_a_group() {
        let spread = spread_of(&survey(&[Some(1), Some(1), Some(1)])).expect("nodes answer");
        assert_eq!(spread.next_move(), Some((2, 2)));
        assert_eq!(
            summary(&spread, 0),
            "the leaders are spread: node 1 leads 3, node 2 leads 0 (no leader had to move)"
        );
        // Node 3 leads a group, and did not answer.
        let spread = spread_of(&survey(&[Some(1), Some(1), Some(1), Some(3)])).expect("nodes answer");
        assert_eq!((spread.next_move(), spread.leaderless()), (None, Some(3)));
    }

    #[test]
    fn a_voter_that_goes_or_has_left_a_group_takes_none() {
        let gone = |change: fn(&mut [MemberStatus])| {
            let mut survey = survey(&[Some(1), Some(1), Some(1)]);
            survey.nodes.values_mut().for_each(|node| change(&mut node.members));
            spread_of(&survey).expect("nodes answer").next_move()
        };
        assert_eq!(gone(|members| members[1].votes_in = Some(3)), Some((2, 2)));
        assert_eq!(gone(|members| members[1].votes_in = Some(2)), None);
        assert_eq!(gone(|members| members[1].part = Part::Leaving), None);
        assert_eq!(gone(|members| members[2].replaces = Some(2)), None);
    }

    #[test]
    fn the_newest_term_says_who_leads() {
        let mut survey = survey(&[Some(1), Some(1), Some(1)]);
        let told = &mut survey.nodes.get_mut(&2).expect("it answers").groups[0];
        (told.term, told.leader) = (1, Some(2));
        assert_eq!(spread_of(&survey).expect("nodes answer").next_move(), None);
    }

    #[test]
    fn a_cluster_that_does_not_answer_is_not_balanced() {
        let mut survey = Survey::default();
        survey.failures.insert("n1:6379".to_owned(), "cannot be reached".to_owned());
        assert_eq!(spread_of(&survey).expect_err("no node answers"), "n1:6379 cannot be reached");
    }
}
