//! Nodes that join one after the other.

use leasehold_raft::wire::{Change, Step, Transition};
use leasehold_testing::cluster::Cluster;

#[test]
fn a_second_node_joins_after_a_snapshot_was_made_for_the_first() {
    let mut cluster = Cluster::founded(3);
    let leader = cluster.elect();
    for id in [4, 5] {
        cluster.add_node(id);
        let change = Change::new(Transition::Auto, vec![Step::AddVoter(id)]);
        cluster.change(leader, &change).expect("the change is proposed");
        // A node rejects a snapshot whose configuration does not contain it, so node 5 cannot use the one made for node 4.
        cluster.run_until("the node has joined", |cluster| {
            cluster.replica(id).membership().voters.contains(&id) && cluster.replica(id).leader() == Some(leader)
        });
    }
}
