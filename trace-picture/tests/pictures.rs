//! Pictures of short recordings.

use leasehold_core::trace::{Line, Node, REPLAY_ORIGIN, is_prose};
use leasehold_trace_picture::{MAX_INPUTS, Options, PictureError, Recording, Step, draw};
use roxmltree::Document;

/// Replays the lines of one node, each of which comes so many milliseconds later.
fn recording(name: &str, later: i64, text: &str) -> Recording {
    let mut node: Option<Node> = None;
    let steps = text.lines().map(|line| {
        if is_prose(line) {
            return Step::Prose(line.to_owned());
        }
        let (at, rest) = line.trim_start().split_once("ms").expect("a line of a trace");
        let line = format!("{}ms{rest}", at.parse::<i64>().expect("a time") + later);
        let line = Line::parse(&line, REPLAY_ORIGIN).expect("a line of a trace");
        let effect = Node::replay(&mut node, &line).expect("an input that follows");
        Step::Input(Box::new((line, effect)))
    });
    Recording { name: name.to_owned(), steps: steps.collect() }
}

const LEADER: &str = "\
0ms  n1 > start hold=1000ms lease=900ms drift=1000ppm heartbeat=100ms longest=0ms
2000ms  n1 > elected term=1 voters=1,2 barrier=1 commit=0
# n2 & n3 < n1: it has \"friends\"
2003ms  n1 > ack from=n2 term=1 round=1
2003ms  n1 > committed index=1
2100ms  n1 > timeout
2104ms  n1 > ack from=n2 term=1 round=2
2110ms  n1 > look
2120ms  n1 > quorum-read
5000ms  n1 > look
5001ms  n1 > deposed
";

const FOLLOWER: &str = "\
0ms  n2 > start hold=1000ms lease=900ms drift=1000ppm heartbeat=100ms longest=0ms
2001ms  n2 > frame term=1 round=1
2101ms  n2 > frame term=1 round=2
2200ms  n2 > may-elect
";

fn picture(recordings: &[Recording]) -> String {
    draw(recordings, &Options { title: "A & B".to_owned(), ..Options::default() }).expect("something happens")
}

/// Returns the number of elements of a class.
fn count(picture: &Document<'_>, class: &str) -> usize {
    picture.descendants().filter(|node| node.attribute("class") == Some(class)).count()
}

#[test]
fn a_picture_is_well_formed_and_has_no_script() {
    let text = picture(&[recording("one", 0, LEADER)]);
    let picture = Document::parse(&text).expect("well-formed XML");
    assert_eq!(picture.root_element().tag_name().namespace(), Some("http://www.w3.org/2000/svg"));
    assert!(!picture.descendants().any(|node| node.has_tag_name("script")));
    assert!(!text.contains("href") && !text.contains("onload"));
    let texts: String = picture.descendants().filter_map(|node| node.text()).collect();
    assert!(texts.contains("n2 & n3 < n1: it has \"friends\"") && texts.contains("prefers-color-scheme: dark"));
}

#[test]
fn it_shows_what_happened() {
    let text = picture(&[recording("one", 0, LEADER), recording("two", 0, FOLLOWER)]);
    let picture = Document::parse(&text).expect("well-formed XML");
    // One of each is in the legend.
    let seen = ["lease", "hold", "leads", "anchor", "by-lease", "waits", "aborted", "refused", "no"];
    let counts = seen.map(|class| count(&picture, class));
    assert_eq!(counts, [2, 4, 2, 2, 2, 2, 3, 2, 2], "{seen:?}");
    // A line and its tip each, and a line in the legend.
    assert_eq!((count(&picture, "round"), count(&picture, "echo")), (5, 5));
    assert!(text.contains(">leads term 1<") && text.contains(">deposed<"));
    assert!(text.contains("n1 has a lease from 2003 ms until 3000 ms"), "{text}");
}

#[test]
fn recordings_are_aligned_by_the_rounds_that_they_share() {
    let alone = picture(&[recording("one", 0, LEADER), recording("two", 0, FOLLOWER)]);
    for later in [-50_000, 70_000] {
        let moved = picture(&[recording("one", 0, LEADER), recording("two", later, FOLLOWER)]);
        // The bounds of the two rounds are -1 to 2 and -1 to 3 ms, so the second clock is half a millisecond off.
        assert!(moved.contains("two: placed by 2 rounds, to within 1.5 ms either way"), "{moved}");
        let lines =
            |text: &str| text.lines().filter(|line| line.starts_with("<line")).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(lines(&moved), lines(&alone));
    }
    let backward = picture(&[recording("two", 0, FOLLOWER), recording("one", 9_000, LEADER)]);
    assert!(backward.contains("one: placed by 2 rounds, to within 1.5 ms either way"), "{backward}");
}

#[test]
fn clocks_that_drift_and_recordings_that_share_nothing_are_named() {
    let drifting = FOLLOWER.replace("2101ms", "2131ms").replace("2200ms", "2231ms");
    let text = picture(&[recording("one", 0, LEADER), recording("two", 0, &drifting)]);
    assert!(text.contains("two: placed by 2 rounds, which contradict each other by 26 ms"), "{text}");
    let strange = FOLLOWER.replace("term=1", "term=7");
    let text = picture(&[recording("one", 0, LEADER), recording("two", 0, &strange)]);
    assert!(text.contains("two: shares no round with the others"), "{text}");
}

#[test]
fn a_window_and_a_limit_keep_pictures_small() {
    let one = [recording("one", 0, LEADER)];
    let window = |from, to| draw(&one, &Options { from: Some(from), to: Some(to), ..Options::default() });
    let part = window(2_050, 2_115).expect("three inputs");
    assert!(!part.contains("leads term 1") && part.contains("by-lease"));
    assert_eq!(window(100, 200), Err(PictureError::Nothing));
    assert_eq!(draw(&[], &Options::default()), Err(PictureError::Nothing));
    let mut long = LEADER.to_owned();
    (0..=MAX_INPUTS).for_each(|_| long.push_str("6000ms  n1 > look\n"));
    let long = recording("long", 0, &long);
    assert_eq!(draw(&[long], &Options::default()), Err(PictureError::TooMany(MAX_INPUTS + 11)));
}
