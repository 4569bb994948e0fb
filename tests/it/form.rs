//! The form of a checkpoint, written down: a changed field must not go out under the same format number.

mod trace;

use std::path::Path;

use knotmeter::tracker::Tracker;

/// Every type of the tracker's state with its fields, below the format number.
const FILE: &str = "tests/it/form/tracker.txt";

#[test]
fn the_form_of_a_checkpoint_has_the_number_it_was_given() {
    let bytes = Tracker::default().checkpoint();
    let number = u32::from_le_bytes(bytes[4..8].try_into().expect("four bytes"));
    let form = format!("format {number}\n{}\n", trace::types_of::<Tracker>().join("\n"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    if std::env::var("UPDATE_DOCS").is_ok_and(|value| value == "1") {
        std::fs::write(&path, &form).expect("writable");
        return;
    }
    assert!(
        form == known,
        "the state has another form than {FILE}: raise FORMAT in src/tracker/checkpoint/mod.rs, unless the number is \
         not released yet, and write the file again: UPDATE_DOCS=1 cargo test --test it form\n{}",
        difference(&known, &form)
    );
}

fn difference(known: &str, form: &str) -> String {
    let without = |left: &str, right: &str, mark: char| -> Vec<String> {
        let gone = left.lines().filter(|line| !right.lines().any(|other| other == *line));
        gone.map(|line| format!("{mark} {line}")).collect()
    };
    [without(known, form, '-'), without(form, known, '+')].concat().join("\n")
}
