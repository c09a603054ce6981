//! The hello: the description that each side of a handshake gives of itself.
//!
//! The layout is fixed and little-endian:
//!
//! ```text
//! hello:        u64 from | u64 to | u8 lane | u64 hold ns | u64 lease ns | u32 drift ppm | u8 length | cluster
//!               | introduction | u16 groups, which is left out at the end if it is 1
//! introduction: u16 length | an introduction, in wincode's encoding
//! ```
//!
//! A cluster id of 0 means that the node's folder belongs to no cluster yet; the incarnations of the founders are then
//! 0.

use crate::lane;
use leasehold_core::{LeaseTiming, NodeId};
use leasehold_node::identity::Introduction;
use leasehold_node::ports::Lane;
use std::num::NonZeroU16;
use wincode::config::Configuration;

/// The longest name of a cluster.
pub(crate) const MAX_CLUSTER_BYTES: usize = 64;
/// Stands for no lane: the dialer only wants to know who answers.
const NO_LANE: u8 = 255;

/// The message with which a node introduces itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The node's identity.
    pub introduction: Introduction,
    /// The node that it wants to talk to.
    pub to: NodeId,
    /// The lane that the connection carries; `None` if it carries nothing after the handshake.
    pub lane: Option<Lane>,
    /// The node's hold, lease and drift.
    pub timing: LeaseTiming,
    /// The cluster's name.
    pub cluster: String,
    /// The number of the cluster's groups. Earlier releases know one group only, and say nothing of it.
    pub groups: NonZeroU16,
}

impl Hello {
    /// Returns the number of the node that introduces itself.
    pub fn from(&self) -> NodeId {
        self.introduction.node
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.from().to_le_bytes());
        out.extend_from_slice(&self.to.to_le_bytes());
        out.push(self.lane.map_or(NO_LANE, lane::number));
        out.extend_from_slice(&self.timing.to_bytes());
        out.push(u8::try_from(self.cluster.len()).expect("the name's length was checked at the start"));
        out.extend_from_slice(self.cluster.as_bytes());
        encode_introduction(&self.introduction, out);
        if self.groups > NonZeroU16::MIN {
            out.extend_from_slice(&self.groups.get().to_le_bytes());
        }
    }

    pub(crate) fn decode(bytes: &mut Reader<'_>) -> Option<Hello> {
        let (node, to) = (bytes.u64()?, bytes.u64()?);
        let lane = match bytes.u8()? {
            NO_LANE => None,
            number => Some(lane::from_number(number)?),
        };
        let timing = LeaseTiming::from_bytes(bytes.array()?);
        let length = usize::from(bytes.u8()?);
        let cluster = bytes.text(length).filter(|cluster| cluster.len() <= MAX_CLUSTER_BYTES)?;
        let introduction = decode_introduction(node, bytes)?;
        let groups = if bytes.0.is_empty() { NonZeroU16::MIN } else { NonZeroU16::new(bytes.u16()?)? };
        Some(Hello { introduction, to, lane, timing, cluster, groups })
    }
}

fn encode_introduction(introduction: &Introduction, out: &mut Vec<u8>) {
    let bytes = wincode::serialize(introduction).expect("an introduction encodes");
    out.extend_from_slice(&u16::try_from(bytes.len()).expect("its parts are bounded").to_le_bytes());
    out.extend_from_slice(&bytes);
}

fn decode_introduction(node: NodeId, bytes: &mut Reader<'_>) -> Option<Introduction> {
    let length = usize::from(bytes.u16()?);
    let introduction: Introduction = wincode::config::deserialize_exact(bytes.take(length)?, LIMITED).ok()?;
    (introduction.node == node && introduction.is_bounded()).then_some(introduction)
}

/// The configuration for decoding. No list of an introduction takes more memory.
const LIMITED: Configuration<true, { 16 << 10 }> = Configuration::default().with_preallocation_size_limit();

/// Reads fields from the front of received bytes. Each method returns `None` if too few are left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn text(&mut self, length: usize) -> Option<String> {
        String::from_utf8(self.take(length)?.to_vec()).ok()
    }
}
