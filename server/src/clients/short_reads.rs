//! Short reads, which are executed together while writers wait.

use super::pause::MAX_TURN;
use super::wire::FLUSH_BYTES;
use crate::keyspace::{Content, ReadCommand, Reply, count};
use crate::resp::ReplyBuffer;

/// The longest value that is copied to the replies, while writers wait.
pub(super) const MAX_COPIED_BYTES: usize = 16 << 10;
/// The cost of a read, as [`Content::cost`] counts it, above which it is executed on a snapshot: that of some hundred
/// fields of a hash. Several reads together have no more either.
pub(super) const MAX_LOCKED_COST: usize = 1 << 20;

/// The reason why only some reads were executed while writers waited.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// All were, or the replies should be written or others should run first.
    None,
    /// The last one has this reply, which is too long to be copied.
    Reply(Reply),
    /// The next one would take too long.
    Long,
}

/// The reads that were executed together.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Short {
    /// The number of them.
    pub(super) executed: usize,
    /// Their costs together.
    cost: usize,
    /// The reason why there are no more.
    pub(super) rest: Rest,
}

impl Short {
    /// Returns the work that they count as, besides that of each one.
    pub(super) fn work(&self) -> usize {
        self.cost * MAX_TURN / MAX_LOCKED_COST
    }
}

/// Executes short reads and encodes their replies, until the replies should be written, or up to the first read that
/// takes too long while writers wait, by itself or with those before it.
pub(super) fn read_short(
    content: &Content,
    reads: &[ReadCommand],
    now: impl Fn() -> u64,
    out: &mut ReplyBuffer,
) -> Short {
    let mut cost = 0;
    for (position, command) in reads.iter().enumerate() {
        let more = content.cost(command);
        if out.bytes().len() >= FLUSH_BYTES || (position > 0 && cost + more > MAX_LOCKED_COST) {
            return Short { executed: position, cost, rest: Rest::None };
        }
        if more > MAX_LOCKED_COST {
            return Short { executed: position, cost, rest: Rest::Long };
        }
        cost += more;
        let one_more = |rest| Short { executed: position + 1, cost, rest };
        match command {
            ReadCommand::Get(key) => match content.string(key) {
                Ok(Some(value)) if value.len() > MAX_COPIED_BYTES => {
                    return one_more(Rest::Reply(Reply::Value(Some(value.clone()))));
                }
                Ok(value) => out.value(value.map(|value| &value[..])),
                Err(error) => return one_more(Rest::Reply(error)),
            },
            ReadCommand::Exists(keys) => out.integer(content.count_existing(keys)),
            ReadCommand::Size => out.integer(count(content.len())),
            command => match content.read(command, &now) {
                Reply::Integer(number) => out.integer(number),
                reply => return one_more(Rest::Reply(reply)),
            },
        }
    }
    Short { executed: reads.len(), cost, rest: Rest::None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::{Entry, Keyspace, SetCommand, StringRead, View, WallClock, WriteCommand};
    use bytes::Bytes;
    use leasehold_node::ports::StateMachine as _;

    /// Returns a view of one key.
    fn view(key: &'static str, value: Bytes) -> View {
        let mut keyspace = Keyspace::new("test", WallClock::new(|| 0));
        let set = WriteCommand::Set(SetCommand::new(Bytes::from_static(key.as_bytes()), value));
        keyspace.apply(1, &Entry::encode(&[], true, &[set]), &mut Vec::new()).expect("a valid entry");
        keyspace.view()
    }

    /// Executes reads, and returns how many, with the reason why not more.
    fn executed(view: &View, reads: &[ReadCommand], out: &mut ReplyBuffer) -> (usize, Rest) {
        let short = view.with(|content| read_short(content, reads, || 0, out));
        (short.executed, short.rest)
    }

    fn get(key: &'static str) -> ReadCommand {
        ReadCommand::Get(Bytes::from_static(key.as_bytes()))
    }

    #[test]
    fn a_long_value_is_not_copied_while_writers_wait() {
        let long = Bytes::from(vec![b'v'; MAX_COPIED_BYTES + 1]);
        let view = view("long", long.clone());
        let mut out = ReplyBuffer::default();
        let reads = [get("none"), get("long"), get("none")];
        assert_eq!(executed(&view, &reads, &mut out), (2, Rest::Reply(Reply::Value(Some(long)))));
        assert_eq!(executed(&view, &reads[2..], &mut out), (1, Rest::None));
        assert_eq!(out.bytes(), b"$-1\r\n$-1\r\n");
        out.bulk(vec![0; FLUSH_BYTES]);
        assert_eq!(executed(&view, &reads, &mut out), (0, Rest::None), "the replies are written first");
    }

    #[test]
    fn reads_together_cost_no_more_than_one_may() {
        let view = view("long", Bytes::from(vec![b'v'; MAX_LOCKED_COST / 4]));
        let count = || {
            let key = Bytes::from_static(b"long");
            ReadCommand::String(StringRead::CountBits { key, part: None })
        };
        let one = view.with(|content| content.cost(&count()));
        let fit = MAX_LOCKED_COST / one;
        assert!(one > 0 && fit > 1);
        let reads: Vec<_> = (0..fit + 2).map(|_| count()).chain([get("long")]).collect();
        let mut out = ReplyBuffer::default();
        let short = view.with(|content| read_short(content, &reads, || 0, &mut out));
        assert_eq!((short.executed, &short.rest), (fit, &Rest::None));
        assert_eq!(short.work(), fit * one * MAX_TURN / MAX_LOCKED_COST);
        assert_eq!(executed(&view, &reads[fit..], &mut out).0, 3);
    }
}
