use std::{fs, io::Write, path::Path};

use serde_json::Value;

use crate::scene::{Scene, Written};

/// The lines of the file, each of which is a whole event.
fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    assert!(text.is_empty() || text.ends_with('\n'), "a torn line: {text:?}");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn lacking(path: &Path, expected: &[Written]) -> usize {
    // It may be looked at in the middle of a write.
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    expected.iter().filter(|event| !whole.iter().any(|line| line["id"] == event.id.as_str())).count()
}

#[tokio::test]
async fn a_file_has_every_event_in_order_and_whole_though_its_writers_are_killed() {
    let mut scene = Scene::without_worker().await;
    let path = scene.world.directory().join("events.jsonl");
    scene.endpoint("file", &format!("file://{}", path.display()), &["--from-beginning"]).await;
    scene.toggle("ursula", 5).await;
    scene.adjust("ursula", &["1", "2", "3"]).await;
    scene.world.arm("publish.sent", "kill");
    scene.world.start_worker().await;
    scene.world.worker_dies().await;
    assert!(!lines(&path).is_empty(), "nothing was on the disk when it would have been recorded");
    // As one that dies in the middle of a line leaves it.
    fs::File::options().append(true).open(&path).unwrap().write_all(br#"{"data":{"by":"ol"#).unwrap();
    scene.toggle("victor", 5).await;
    scene.world.start_worker().await;
    scene.world.start_second_worker().await;
    scene.toggle("ursula", 4).await;
    let written = scene.written().await;
    scene.until("some never come", async || lacking(&path, &written) == 0).await;
    scene.world.stop_worker().await;
    let lines = lines(&path);
    let mut aggregates: Vec<&str> = written.iter().map(|event| event.aggregate.as_str()).collect();
    aggregates.dedup();
    for aggregate in aggregates {
        let expected: Vec<&str> =
            written.iter().filter(|event| event.aggregate == aggregate).map(|event| event.id.as_str()).collect();
        let mut came: Vec<&str> = Vec::new();
        for line in lines.iter().filter(|line| line["subject"] == aggregate) {
            let id = line["id"].as_str().unwrap();
            if !came.contains(&id) {
                came.push(id);
            }
        }
        assert_eq!(came, expected, "{aggregate}");
    }
}
