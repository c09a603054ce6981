//! The pictures of the scenarios in `docs/scenarios/`, and the gallery that shows them.

use crate::{REPLICA_SCENARIOS, SCENARIOS, Scenario};
use leasehold::replay_steps;
use leasehold_tests::world::World;
use leasehold_trace_picture::{Options, Recording, Step, draw};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// The variable of the environment that lets the test write the files that it checks.
const UPDATE: &str = "UPDATE_PICTURES";
const MAX_COLUMNS: usize = 120;

const HEAD: &str = "\
# How leases break, and what prevents it

Each picture shows one of [the failures that a lease must survive](../scenarios.md), drawn from the trace of its test.
A lane is a node. The green bar is its lease, which counts from the arrow; the violet bar is the time for which it is
held. Blue lines are rounds and, dashed, their acknowledgements. Time runs to the right, and long gaps are shortened.
Open a picture in a browser for the values: they are in its tooltips. `leasehold trace FILE --svg OUT` draws a recording
of your own.

`UPDATE_PICTURES=1 cargo test -p leasehold-tests --test scenarios pictures` writes this folder anew.
";

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/scenarios")
}

/// Returns the text that tells the story, which comes before its first input.
fn told(steps: &[Step]) -> String {
    let prose = steps.iter().map_while(|step| match step {
        Step::Prose(prose) => Some(prose.trim_start_matches(['#', ' '])),
        Step::Input(..) => None,
    });
    // How the world begins is the same in all of them.
    prose.filter(|prose| !prose.starts_with("The nodes started")).collect::<Vec<_>>().join(" ")
}

/// Breaks a paragraph into lines.
fn wrap(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is a line");
        if !line.is_empty() && line.len() + 1 + word.len() > MAX_COLUMNS {
            lines.push(word.to_owned());
        } else {
            line.push_str(if line.is_empty() { "" } else { " " });
            line.push_str(word);
        }
    }
    lines.join("\n")
}

/// Returns the section of a scenario in the gallery, and its picture.
fn section(scenario: &Scenario) -> (String, Option<String>) {
    let Scenario { name, story, needs } = scenario;
    let mut world = World::real();
    assert_eq!(story(&mut world), Ok(()), "{name}");
    let rules = needs.iter().map(|rule| {
        let off = rule.off().map(|off| format!(" Without it, {off}.")).unwrap_or_default();
        wrap(&format!("[{}](../protocol.md): *{}*.{off}", rule.place(), rule.words().trim_end_matches('.')))
    });
    let rules = rules.collect::<Vec<_>>().join("\n\n");
    if world.is_elided() {
        let told = told(&world.text().lines().map(|line| Step::Prose(line.to_owned())).take(2).collect::<Vec<_>>());
        return (format!("\n## {name}\n\n{}\n\n{rules}\n\nIt has too many rounds for a picture.\n", wrap(&told)), None);
    }
    let steps = replay_steps(world.text()).expect("the trace replays");
    let text = format!("\n## {name}\n\n{}\n\n{rules}\n\n![{name}]({name}.svg)\n", wrap(&told(&steps)));
    let recording = Recording { name: (*name).to_owned(), steps };
    let options = Options { title: (*name).to_owned(), ..Options::default() };
    (text, Some(draw(&[recording], &options).expect("a scenario has inputs")))
}

#[test]
fn the_pictures_are_up_to_date() {
    let mut gallery = HEAD.to_owned();
    let mut files = BTreeMap::new();
    for scenario in SCENARIOS {
        let (text, picture) = section(scenario);
        gallery.push_str(&text);
        files.extend(picture.map(|picture| (format!("{}.svg", scenario.name), picture)));
    }
    let others: Vec<String> = REPLICA_SCENARIOS.iter().map(|scenario| format!("`{}`", scenario.name)).collect();
    let others = format!("{} run on whole replicas, whose traces are in `tests/tests/snapshots/`.", others.join(", "));
    gallery.push_str(&format!("\n## Without pictures\n\n{}\n", wrap(&others)));
    files.insert("README.md".to_owned(), gallery);
    let folder = folder();
    if std::env::var_os(UPDATE).is_some() {
        fs::create_dir_all(&folder).expect("docs/scenarios");
        for (name, content) in &files {
            fs::write(folder.join(name), content).expect("a file in docs/scenarios");
        }
    }
    for (name, content) in &files {
        let found = fs::read_to_string(folder.join(name)).unwrap_or_default();
        assert!(
            found == *content,
            "docs/scenarios/{name} is out of date; run this test with {UPDATE}=1, and look at it"
        );
    }
    let there = fs::read_dir(&folder).expect("docs/scenarios").map(|entry| entry.expect("a file").file_name());
    let there = there.map(|name| name.into_string().expect("a name"));
    let left_over: Vec<String> = there.filter(|name| !files.contains_key(name)).collect();
    assert_eq!(left_over, Vec::<String>::new(), "docs/scenarios has files of no scenario");
}
