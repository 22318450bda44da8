//! The gRPC code in `crates/proto/src/generated`, written from `proto/` without a foreign
//! compiler, and with `--check` the check that what is committed is what would be written. A
//! program of its own, so that nothing else waits for what it is made of: `cargo xtask proto` runs
//! it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

const SOURCES: [&str; 9] = [
    "longshore/v1/accounts.proto",
    "longshore/v1/admin.proto",
    "longshore/v1/control.proto",
    "longshore/v1/levels.proto",
    "longshore/v1/jobs.proto",
    "longshore/v1/messages.proto",
    "longshore/v1/schedules.proto",
    "longshore/v1/streams.proto",
    "longshore/v1/workers.proto",
];
const GENERATED: &str = "crates/proto/src/generated";
const DESCRIPTORS: &str = "longshore.v1.bin";

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let root = root.expect("xtask lies in the workspace's folder");
    let done = match std::env::args().nth(1).as_deref() {
        None => write(root),
        Some("--check") => check(root),
        Some(other) => Err(anyhow::anyhow!("unknown argument {other}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Writes the generated code.
fn write(root: &Path) -> Result<()> {
    let folder = root.join(GENERATED);
    fs::create_dir_all(&folder)?;
    for (name, content) in generate(root)? {
        let path = folder.join(name);
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Fails where the generated code is not what `write` would write.
fn check(root: &Path) -> Result<()> {
    let folder = root.join(GENERATED);
    for (name, content) in generate(root)? {
        let path = folder.join(name);
        if fs::read(&path).ok() != Some(content) {
            bail!("{} is not what proto/ says: run `cargo xtask proto`", path.display());
        }
    }
    Ok(())
}

fn generate(root: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    // The comments become documentation in Rust; reflection does without them.
    let commented = compile(root, true)?.file_descriptor_set();
    let encoded = compile(root, false)?.encode_file_descriptor_set();
    let folder = std::env::temp_dir().join(format!("longshore-proto-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let written = tonic_prost_build::configure()
        .bytes(".")
        .codec_path("crate::codec::Codec")
        .emit_rerun_if_changed(false)
        .out_dir(&folder)
        .compile_fds(commented);
    let files = written.map_err(anyhow::Error::from).and_then(|()| read_all(&folder));
    fs::remove_dir_all(&folder)?;
    let mut files = files?;
    files.insert(PathBuf::from(DESCRIPTORS), encoded);
    Ok(files)
}

fn compile(root: &Path, comments: bool) -> Result<protox::Compiler> {
    let mut compiler = protox::Compiler::new([root.join("proto")])?;
    compiler.include_imports(true).include_source_info(comments);
    compiler.open_files(SOURCES)?;
    Ok(compiler)
}

fn read_all(folder: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        files.insert(PathBuf::from(entry.file_name()), fs::read(entry.path())?);
    }
    Ok(files)
}
