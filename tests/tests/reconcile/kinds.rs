//! Goal: whatever reconciliation can find, some test here does the damage for.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// What stands before the name of a kind.
const BEFORE: [&str; 5] = ["SELECT '", "THEN '", "ELSE '", "find('", "kind: \""];

fn texts(folder: &str, is_one: impl Fn(&str) -> bool) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let files: BTreeSet<PathBuf> = fs::read_dir(root.join(folder)).unwrap().map(|file| file.unwrap().path()).collect();
    let named = files.into_iter().filter(|file| is_one(file.file_name().unwrap().to_str().unwrap()));
    named.map(|file| fs::read_to_string(file).unwrap()).collect()
}

/// The kinds in a text: a name of several words, in the place of one.
fn kinds(text: &str) -> BTreeSet<String> {
    let of = |before: &str| {
        let names = text.split(before).skip(1).filter_map(|rest| rest.split(['\'', '"']).next());
        names.filter(|name| is_kind(name)).map(str::to_owned).collect::<Vec<_>>()
    };
    BEFORE.iter().flat_map(|before| of(before)).collect()
}

fn is_kind(name: &str) -> bool {
    name.split('_').count() > 1
        && name.split('_').all(|word| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase()))
}

#[test]
fn every_kind_of_finding_of_every_check_is_seeded_by_a_test() {
    let checks = ["0018", "0019", "0020", "0023", "0024", "0025"];
    let mut sources = texts("migrations", |name| checks.iter().any(|check| name.starts_with(check)));
    sources.extend(texts("activities/src/reconcile", |_| true));
    let kinds: BTreeSet<String> = sources.iter().flat_map(|text| kinds(text)).collect();
    for known in
        ["entry_without_row", "books_restored", "too_many_deviations", "order_without_attempt", "custody_unseen"]
    {
        assert!(kinds.contains(known), "{known} is not among {kinds:?}");
    }
    let mut tests = texts("tests/tests/reconcile", |name| name != "kinds.rs");
    tests.extend(texts("tests/tests/custody", |_| true));
    let unseeded: Vec<&String> =
        kinds.iter().filter(|kind| !tests.iter().any(|test| test.contains(kind.as_str()))).collect();
    assert!(unseeded.is_empty(), "no test does the damage of {unseeded:?}");
}
