//! Comparing the replies of two servers to the same stream.

use super::pair::{End, Replies};
use super::reply::Reply;
use super::stream::{Request, Stream};
use std::fmt;

/// The most seconds by which two answers about a time may differ: both servers take time to answer.
const MAX_SECONDS: i64 = 30;

/// The first difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    /// The command that was answered, or that of the transaction; empty if that is not known.
    pub(super) request: Vec<Vec<u8>>,
    pub(super) reference: Seen,
    pub(super) tested: Seen,
}

/// What was seen of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// A reply.
    Reply(Reply),
    /// No more replies, because of this.
    End(End),
}

/// The name of a command and the kinds of both replies.
pub(super) type Kind = (String, String, String);

impl Difference {
    /// Returns the name of the command in lower case.
    pub(super) fn name(&self) -> String {
        Request::new(self.request.clone()).name()
    }

    /// Returns the kind of the difference: two of the same kind have the same cause.
    pub(super) fn kind(&self) -> Kind {
        (self.name(), self.reference.kind(), self.tested.kind())
    }
}

impl Seen {
    fn kind(&self) -> String {
        match self {
            Seen::Reply(Reply::Line(b'-', line)) => String::from_utf8_lossy(line).chars().take(24).collect(),
            Seen::Reply(Reply::Line(kind, _) | Reply::Bytes(kind, _) | Reply::Many(kind, _)) => {
                char::from(*kind).to_string()
            }
            Seen::End(end) => format!("{end:?}"),
        }
    }

    /// Returns the text of an error reply.
    pub(super) fn error(&self) -> Option<String> {
        match self {
            Seen::Reply(reply) => reply.error().map(|error| String::from_utf8_lossy(error).into_owned()),
            Seen::End(_) => None,
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Seen::Reply(reply) => write!(out, "{reply}"),
            Seen::End(end) => write!(out, "({end:?})"),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.request.iter().map(|word| super::reply::shown(word)).collect();
        write!(out, "  to {:?}\n  redis-server  {}\n  leasehold     {}", words.join(" "), self.reference, self.tested)
    }
}

/// Returns the first difference.
pub(super) fn compare(stream: &Stream, reference: &Replies, tested: &Replies) -> Option<Difference> {
    let mut queue: Option<Vec<&Request>> = None;
    let unnamed = Request::new(Vec::new());
    for at in 0..reference.replies.len().max(tested.replies.len()) {
        let request = stream.requests.get(at).unwrap_or(&unnamed);
        let seen = |replies: &Replies| match replies.replies.get(at) {
            Some(reply) => Seen::Reply(reply.clone()),
            None => Seen::End(replies.end),
        };
        let (left, right) = (seen(reference), seen(tested));
        let different = |request: &Request, reference, tested| {
            Some(Difference { request: request.words.clone(), reference, tested })
        };
        let (Seen::Reply(a), Seen::Reply(b)) = (&left, &right) else { return different(request, left, right) };
        match (request.name().as_str(), a, b) {
            ("exec", Reply::Many(_, Some(all)), Reply::Many(_, Some(others))) if all.len() == others.len() => {
                let queued = queue.take().unwrap_or_default();
                for (at, (a, b)) in all.iter().zip(others).enumerate() {
                    let request = queued.get(at).copied().unwrap_or(&unnamed);
                    if !is_same(request, a, b) {
                        return different(request, Seen::Reply(a.clone()), Seen::Reply(b.clone()));
                    }
                }
            }
            _ if !is_same(request, a, b) => return different(request, left, right),
            ("multi", Reply::Line(b'+', _), _) => queue = Some(Vec::new()),
            (_, Reply::Line(b'+', line), _) if line == b"QUEUED" => queue.get_or_insert_default().push(request),
            _ => {}
        }
    }
    (reference.end != tested.end).then(|| Difference {
        request: Vec::new(),
        reference: Seen::End(reference.end),
        tested: Seen::End(tested.end),
    })
}

/// Returns whether two replies to a command say the same.
fn is_same(request: &Request, a: &Reply, b: &Reply) -> bool {
    if a == b {
        return true;
    }
    if a.error().is_some() || b.error().is_some() {
        return false;
    }
    // The names and versions in the reply to HELLO are each server's own.
    if protocol(a).is_some() && protocol(a) == protocol(b) {
        return true;
    }
    let word = |at: usize| request.words.get(at).map(|word| word.to_ascii_lowercase()).unwrap_or_default();
    match (request.name().as_str(), word(1).as_slice()) {
        // These promise no order.
        ("keys" | "hkeys" | "hvals", _) => groups(a, 1).is_some() && groups(a, 1) == groups(b, 1),
        ("hgetall", _) | ("config", b"get") => groups(a, 2).is_some() && groups(a, 2) == groups(b, 2),
        ("ttl" | "expiretime", _) => is_near(a, b, MAX_SECONDS),
        ("pttl" | "pexpiretime", _) => is_near(a, b, MAX_SECONDS * 1000),
        ("object", b"idletime") => is_near(a, b, MAX_SECONDS),
        ("scan", b"0") => is_same_scan(a, b, 1),
        ("hscan", _) if word(2) == b"0" => is_same_scan(a, b, 2),
        ("hrandfield", _) => has_same_shape(a, b) && length(a) == length(b),
        ("info" | "time" | "lolwut" | "role" | "randomkey", _)
        | ("client", b"id" | b"info" | b"list")
        | ("command", b"" | b"count" | b"docs" | b"info" | b"list")
        | ("memory", b"usage" | b"stats")
        | ("slowlog", b"get" | b"len")
        | ("scan" | "hscan", _)
        | ("acl", b"cat")
        | (_, b"help") => has_same_shape(a, b),
        _ => false,
    }
}

/// Returns the kind of an array or a map, and its elements in groups of this size, in order.
fn groups(reply: &Reply, size: usize) -> Option<(u8, Vec<&[Reply]>)> {
    let Reply::Many(kind, Some(elements)) = reply else { return None };
    let mut groups: Vec<_> = elements.chunks(size).collect();
    groups.sort_unstable();
    Some((*kind, groups))
}

/// Returns the number of elements of an array or a map.
fn length(reply: &Reply) -> Option<usize> {
    if let Reply::Many(_, Some(elements)) = reply { Some(elements.len()) } else { None }
}

/// Compares the first steps of two scans, of which the elements are groups of this size. If neither has another step,
/// both have returned everything: the same elements, which Redis may repeat.
fn is_same_scan(a: &Reply, b: &Reply, size: usize) -> bool {
    let all = |reply: &Reply| {
        let Reply::Many(_, Some(parts)) = reply else { return None };
        let [Reply::Bytes(_, Some(cursor)), found] = parts.as_slice() else { return None };
        let (kind, mut found) = groups(found, size).filter(|_| cursor == b"0")?;
        found.dedup();
        Some((kind, found.into_iter().map(<[Reply]>::to_vec).collect::<Vec<_>>()))
    };
    match (all(a), all(b)) {
        (Some(a), Some(b)) => a == b,
        _ => has_same_shape(a, b),
    }
}

fn is_near(a: &Reply, b: &Reply, most: i64) -> bool {
    let (Some(a), Some(b)) = (a.integer(), b.integer()) else { return false };
    (a >= 0) == (b >= 0) && a >= 0 && a.abs_diff(b) <= most.unsigned_abs()
}

/// Returns the version of the protocol in a reply to `HELLO`.
fn protocol(reply: &Reply) -> Option<(u8, &Reply)> {
    let Reply::Many(kind, Some(elements)) = reply else { return None };
    let at = elements.iter().position(|element| *element == Reply::Bytes(b'$', Some(b"proto".to_vec())))?;
    Some((*kind, elements.get(at + 1)?))
}

/// Returns whether two replies are of the same kind, and both or none of them are missing.
fn has_same_shape(a: &Reply, b: &Reply) -> bool {
    match (a, b) {
        (Reply::Line(kind, _), Reply::Line(other, _)) => kind == other,
        (Reply::Bytes(kind, a), Reply::Bytes(other, b)) => kind == other && a.is_some() == b.is_some(),
        (Reply::Many(kind, a), Reply::Many(other, b)) => kind == other && a.is_some() == b.is_some(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(lines: &[&str]) -> Stream {
        let words = |line: &&str| line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        Stream { requests: lines.iter().map(|line| Request::new(words(line))).collect(), cuts: Vec::new() }
    }

    fn replies(bytes: &[u8]) -> Replies {
        let (mut replies, mut at) = (Vec::new(), 0);
        while let Ok(Some((reply, length))) = super::super::reply::parse(&bytes[at..]) {
            replies.push(reply);
            at += length;
        }
        assert_eq!(at, bytes.len(), "well-formed");
        Replies { replies, end: End::Complete }
    }

    fn differ(lines: &[&str], reference: &[u8], tested: &[u8]) -> bool {
        compare(&stream(lines), &replies(reference), &replies(tested)).is_some()
    }

    #[test]
    fn what_is_each_servers_own_is_not_compared_and_everything_else_is() {
        assert!(!differ(&["GET a"], b"$1\r\nx\r\n", b"$1\r\nx\r\n"));
        assert!(differ(&["GET a"], b"$1\r\nx\r\n", b"$1\r\ny\r\n"));
        assert!(differ(&["GET a"], b"$-1\r\n", b"*-1\r\n"));
        assert!(!differ(&["KEYS *"], b"*2\r\n+a\r\n+b\r\n", b"*2\r\n+b\r\n+a\r\n"));
        assert!(differ(&["MGET *"], b"*2\r\n+a\r\n+b\r\n", b"*2\r\n+b\r\n+a\r\n"));
        assert!(!differ(&["HGETALL h"], b"*4\r\n+a\r\n+1\r\n+b\r\n+2\r\n", b"*4\r\n+b\r\n+2\r\n+a\r\n+1\r\n"));
        assert!(differ(&["HGETALL h"], b"*4\r\n+a\r\n+1\r\n+b\r\n+2\r\n", b"*4\r\n+b\r\n+1\r\n+a\r\n+2\r\n"));
        assert!(differ(&["HGETALL h"], b"*2\r\n+a\r\n+1\r\n", b"%1\r\n+a\r\n+1\r\n"));
        assert!(!differ(&["TTL a"], b":100\r\n", b":99\r\n"));
        assert!(differ(&["TTL a"], b":100\r\n", b":-1\r\n"));
        assert!(differ(&["TTL a"], b":-2\r\n", b":-1\r\n"));
        assert!(differ(&["CLIENT ID"], b":1\r\n", b"-ERR x\r\n"));
        let scanned = |cursor: &str, found: &str| format!("*2\r\n$1\r\n{cursor}\r\n{found}").into_bytes();
        let (ab, ba, aab) = ("*2\r\n+a\r\n+b\r\n", "*2\r\n+b\r\n+a\r\n", "*3\r\n+a\r\n+b\r\n+a\r\n");
        assert!(!differ(&["SCAN 0"], &scanned("0", ab), &scanned("0", ba)));
        assert!(!differ(&["SCAN 0"], &scanned("0", aab), &scanned("0", ab)));
        assert!(!differ(&["SCAN 0"], &scanned("5", "*1\r\n+a\r\n"), &scanned("0", ab)));
        assert!(differ(&["SCAN 0"], &scanned("0", "*1\r\n+a\r\n"), &scanned("0", ab)));
        assert!(differ(&["HSCAN h 0"], &scanned("0", ab), &scanned("0", ba)));
        assert!(!differ(&["HRANDFIELD h 2"], ab.as_bytes(), ba.as_bytes()));
        assert!(differ(&["HRANDFIELD h 2"], ab.as_bytes(), b"*1\r\n+a\r\n"));
        assert!(differ(&["PING", "PING"], b"+PONG\r\n+PONG\r\n", b"+PONG\r\n"));
    }

    #[test]
    fn the_replies_in_a_transaction_are_compared_by_the_commands_that_were_queued() {
        let lines = ["MULTI", "KEYS *", "GET a", "EXEC"];
        let with = |exec: &str| [b"+OK\r\n+QUEUED\r\n+QUEUED\r\n".to_vec(), exec.as_bytes().to_vec()].concat();
        let reference = with("*2\r\n*2\r\n+a\r\n+b\r\n+x\r\n");
        assert!(!differ(&lines, &reference, &with("*2\r\n*2\r\n+b\r\n+a\r\n+x\r\n")));
        assert!(differ(&lines, &reference, &with("*2\r\n*2\r\n+b\r\n+a\r\n+y\r\n")));
        assert!(differ(&lines, &reference, &with("*-1\r\n")));
    }
}
