//! The disruption marker, in a file that a test makes.

use leasehold_clock::{Clock, DisruptionMarker, ManualClock, WatchedClock};
use std::path::{Path, PathBuf};
use std::{env, fs, io, process};

/// A file with the first fields of a VMClock page. It is removed at the end.
struct Page(PathBuf);

impl Page {
    fn new(name: &str) -> Page {
        let page = Page(env::temp_dir().join(format!("leasehold-vmclock-{}-{name}", process::id())));
        page.write(*b"VCLK", 1, 0, 7);
        page
    }

    fn write(&self, magic: [u8; 4], version: u16, updates: u32, marker: u64) {
        let mut page = vec![0; 4096];
        page[..4].copy_from_slice(&magic);
        page[4..8].copy_from_slice(&4096_u32.to_le_bytes());
        page[8..10].copy_from_slice(&version.to_le_bytes());
        page[12..16].copy_from_slice(&updates.to_le_bytes());
        page[16..24].copy_from_slice(&marker.to_le_bytes());
        fs::write(&self.0, page).expect("a temporary file");
    }

    fn open(&self) -> io::Result<DisruptionMarker> {
        DisruptionMarker::open(&self.0)
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn a_changed_marker_is_reported_once() {
    let page = Page::new("changed");
    let clock = WatchedClock::new(ManualClock::default(), page.open().expect("a sound page"));
    assert!(!clock.is_disrupted());
    page.write(*b"VCLK", 1, 2, 8);
    assert!(clock.is_disrupted());
    assert!(!clock.is_disrupted());
    assert_eq!(clock.now(), ManualClock::default().now());
}

#[test]
fn other_fields_are_no_disruption() {
    let page = Page::new("updated");
    let marker = page.open().expect("a sound page");
    page.write(*b"VCLK", 1, 4, 7);
    assert!(!marker.has_changed());
}

#[test]
fn a_page_that_cannot_be_read_counts_as_changed() {
    let page = Page::new("unreadable");
    let marker = page.open().expect("a sound page");
    page.write(*b"VCLK", 1, 3, 7);
    assert!(marker.has_changed(), "an update is in progress");
    page.write(*b"VCLK", 1, 4, 7);
    assert!(!marker.has_changed(), "it is over, and was none of the marker");
    fs::write(&page.0, b"VCLK").expect("a temporary file");
    assert!(marker.has_changed(), "it is too short");
    fs::remove_file(&page.0).expect("a temporary file");
    assert!(marker.has_changed(), "it is gone");
}

#[test]
fn other_layouts_are_refused() {
    let page = Page::new("refused");
    page.write(*b"VGEN", 1, 0, 7);
    assert_eq!(page.open().expect_err("another magic").kind(), io::ErrorKind::InvalidData);
    page.write(*b"VCLK", 2, 0, 7);
    assert_eq!(page.open().expect_err("another version").kind(), io::ErrorKind::InvalidData);
    assert_eq!(
        DisruptionMarker::open(Path::new("/nonexistent/vmclock0")).expect_err("no device").kind(),
        io::ErrorKind::NotFound
    );
}

#[test]
fn a_clock_without_a_marker_knows_of_no_disruption() {
    assert!(!ManualClock::default().is_disrupted());
}
