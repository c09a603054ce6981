//! A trace replays to itself, and the error of a bad line names what was expected.

use leasehold_core::trace::{Line, Node, REPLAY_ORIGIN, Recorder, is_prose};
use leasehold_core::{Config, Grantor, Holder, Instant, LeaseCell, Options, Release, TermRound, Voters};
use leasehold_core::{Event, trace};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// Replays a trace and prints the result, as `leasehold trace` does.
fn replay(text: &str) -> Result<String, String> {
    let mut nodes = BTreeMap::new();
    let mut out = String::new();
    for (number, text) in (1..).zip(text.lines()) {
        if is_prose(text) {
            writeln!(out, "{text}").unwrap();
            continue;
        }
        let line = Line::parse(text, REPLAY_ORIGIN).map_err(|wrong| format!("line {number}, {wrong}"))?;
        let node = nodes.entry(line.node).or_insert(None);
        let effect = Node::replay(node, &line).map_err(|wrong| format!("line {number}: {wrong}"))?;
        writeln!(out, "{}", line.shown(&effect, REPLAY_ORIGIN)).unwrap();
    }
    Ok(out)
}

const STORY: &str = "\
# n1 leads; n2 acknowledges; leadership is handed to n2.
       0ms  n1 > start hold=1000ms lease=990ms drift=100ppm heartbeat=100ms longest=0ms < held until 1000ms
no reading  n2 > start hold=1000ms lease=990ms drift=100ppm heartbeat=100ms longest=2000.000001ms < held from the next reading
    1500ms  n1 > elected term=3 voters=1,2,3 barrier=5 commit=4 < send round=1   no lease   wake 1600ms heartbeat
1501.25ms/1502ms  n2 > frame term=3 round=1               < echo   held until 3501.250001ms/3502.000001ms
    1507ms  n1 > ack from=n2 term=3 round=1         < no lease   wake 1600ms heartbeat
    1508ms  n1 > committed index=5                  < confirmed through=1   lease until 2490ms   wake 1600ms heartbeat
    1509ms  n1 + look                               < permit term=3 index=5
    1510ms  n1 > read                               < lease read term=3 index=5   lease until 2490ms   wake 1600ms heartbeat
    1511ms  n1 + quorum-read                        < quorum read round=2 index=5   lease until 2490ms   wake 1611ms heartbeat
    1511ms  n1 > quorum-read                        < quorum read round=2 index=5   send round=2   lease until 2490ms   wake 1611ms heartbeat
no reading  n1 > quorum-read                        < quorum read round=3 index=5   send round=3   lease until 2490ms
    1600ms  n1 > voters-changed voters=1,2,3&3,4,5  < no lease
    1601ms  n1 > transfer-started                   < no lease
    1602ms  n2 > may-elect release=3/2              < no   held until 3501.250001ms/3502.000001ms
    1603ms  n1 > transfer-ended                     < send round=4   no lease   wake 1703ms heartbeat
    -100ms  n1 > timeout                            < send round=5   no lease   wake 0ms heartbeat
    1604ms  n1 > deposed                            < aborted through=5   no lease
    1605ms  n1 > read                               < not leader   no lease
    3600ms  n2 > may-elect                          < yes   free
";

#[test]
fn a_trace_replays_to_itself() {
    assert_eq!(replay(STORY).unwrap(), STORY);
    let inputs: String = STORY.lines().map(|line| format!("{}\n", line.split('<').next().unwrap())).collect();
    assert_eq!(replay(&inputs).unwrap(), STORY, "the inputs alone produce the effects");
}

#[test]
fn a_recorded_trace_replays_to_itself() {
    let at = |millis: u64| Some(Instant::from_nanos(5_000_000 + millis * 1_000_000, 9_000_017 + millis * 1_000_000));
    let config = Config::new(Options::new(Duration::from_millis(1000), 250)).unwrap();
    let (mut holder, mut grantor, cell) =
        (Holder::new(1, config), Grantor::new(config, Duration::ZERO, at(0)), LeaseCell::new());
    let mut recorder = Recorder::new(1, None);
    let mut out = String::new();
    let start = trace::Input::Start { config, longest_hold: Duration::ZERO, remaining: None };
    recorder.input(at(0), start, trace::Effect::seen(None, &holder, &grantor), &mut out).unwrap();
    let elected = Event::Elected { term: 2, voters: Voters::simple(&[1]).unwrap(), barrier: 1, commit: 0 };
    for (millis, event) in [(1, elected), (2, Event::Committed(1))] {
        holder.handle_event(at(millis), event, &cell).expect("the node leads");
        let effect = trace::Effect::seen(None, &holder, &grantor);
        recorder.input(at(millis), trace::Input::Event(event), effect, &mut out).unwrap();
    }
    // Two inputs came before the outputs were taken.
    while let Some(action) = holder.poll_action() {
        recorder.action(action);
    }
    recorder.taken(&mut out).unwrap();
    let release = Some(Release { through: TermRound { term: 1, round: 9 } });
    let answer = Some(trace::Answer::MayElect(grantor.may_vote_or_campaign(at(1200), release)));
    let effect = trace::Effect::seen(answer, &holder, &grantor);
    recorder.input(at(1200), trace::Input::MayElect(release), effect, &mut out).unwrap();
    recorder.taken(&mut out).unwrap();
    assert_eq!(out.matches(" + ").count(), 2, "{out}");
    assert_eq!(replay(&out).unwrap(), out);
}

#[test]
fn the_error_of_a_bad_line_names_its_place_and_what_was_expected() {
    let wrong = |line: &str| replay(line).unwrap_err();
    assert_eq!(
        wrong("7 n1 > read"),
        "line 1, column 1: expected a time such as `7ms`, `7.5ms` or `7ms/60007ms`, or `no reading`"
    );
    assert_eq!(wrong("\n  7ms  m1 > read"), "line 2, column 8: expected a node, such as `n1`");
    assert_eq!(wrong("7ms n1 read"), "line 1, column 8: expected `>` or `+`");
    assert!(wrong("7ms n1 > reed").starts_with("line 1, column 10: expected an input: start, elected,"));
    assert_eq!(wrong("7ms n1 > ack from=n2 term=x"), "line 1, column 22: expected `term=` and a number");
    assert_eq!(wrong("7ms n1 > ack from=n2 term=1"), "line 1, column 28: expected `round=` and a number");
    assert_eq!(wrong("7ms n1 > read it < so"), "line 1, column 15: expected nothing more before `<`");
    assert!(wrong("7ms n1 > elected term=1 voters=1,1").contains("column 25: expected `voters=`"));
    assert_eq!(
        wrong("7ms n1 > start hold=10ms lease=20ms drift=0ppm heartbeat=1ms longest=0ms"),
        "line 1, column 16: expected a consistent hold, lease, drift and heartbeat"
    );
    assert_eq!(wrong("7ms n1 > read"), "line 1: n1 has not started; expected its `start` line first");
    let start = "0ms n1 > start hold=10ms lease=5ms drift=0ppm heartbeat=1ms longest=0ms\n";
    assert_eq!(
        wrong(&format!("{start}0ms n1 > committed index=3")),
        "line 2: n1: a commit was reported while this node does not lead; report its election first"
    );
}

#[test]
fn replaying_a_corrupted_trace_never_panics() {
    let lines: Vec<&str> = STORY.lines().collect();
    for (number, line) in lines.iter().enumerate().filter(|(_, line)| !is_prose(line)) {
        let input = line.split('<').next().unwrap();
        for place in 0..input.len() {
            for put in ["", " ", "9", "-", "x", "=", ",", "18446744073709551615", "é"] {
                let changed = format!("{}{put}{}", &input[..place], &input[place + 1..]);
                let mut story = lines.clone();
                story[number] = &changed;
                // Any result is fine, as long as nothing panics.
                let _ = replay(&story.join("\n"));
            }
        }
        // One line missing, and one line twice.
        let without: Vec<&str> = lines.iter().copied().filter(|other| other != line).collect();
        let _ = replay(&without.join("\n"));
        let mut twice = lines.clone();
        twice.insert(number, line);
        let _ = replay(&twice.join("\n"));
    }
}
