//! `verify`: sound stores, running ones, damaged ones.

use std::fs;
use std::path::{Path, PathBuf};

use super::harness::{Server, run_in};

#[test]
fn a_stopped_store_is_sound() {
    let server = Server::start();
    server.enqueue(&["greet"]);
    let said = server.run(&["verify", "store"]).bad(4);
    assert!(said.contains("in use") || said.contains("locked"), "{said}");
    let second = server.run(&["serve", "--data", "store", "--listen", "127.0.0.1:0"]).bad(4);
    assert!(second.contains("in use"), "the same code: {second}");
    let (code, rest, folder) = server.stop();
    assert_eq!(code, 0, "{rest}");
    let said = run_in(folder.path(), &["verify", "store"]).good();
    assert!(said.contains("shard 0: sound") && said.ends_with("store: sound\n"), "{said}");
    let found = run_in(folder.path(), &["verify", "store", "-o", "json"]).json();
    assert_eq!(found["sound"], true);
}

#[test]
fn a_flipped_bit_is_named_with_its_place() {
    let server = Server::start();
    for _ in 0..3 {
        server.enqueue(&["greet"]);
    }
    let (_, _, folder) = server.stop();
    let segments: Vec<_> = files_below(&folder.path().join("store"))
        .into_iter()
        .filter(|path| path.parent().unwrap().ends_with("journal"))
        .collect();
    let mut flipped = 0;
    for path in segments {
        let mut bytes = fs::read(&path).unwrap();
        // In a frame, not in the header nor in the zeros after the last one.
        let Some(at) = (4096..bytes.len()).find(|at| bytes[*at] != 0) else { continue };
        bytes[at + 40] ^= 1;
        fs::write(&path, &bytes).unwrap();
        flipped += 1;
    }
    assert!(flipped > 0);
    let ended = run_in(folder.path(), &["verify", "store"]);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.out.contains("CORRUPT") && ended.out.contains("at offset"), "{ended:?}");
}

#[test]
fn there_has_to_be_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let said = run_in(folder.path(), &["verify", "."]).bad(3);
    assert!(said.contains("there is no store"), "{said}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found
}
