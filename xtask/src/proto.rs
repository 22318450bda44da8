//! The gRPC code in `crates/proto/src/generated`, written from `proto/` without a foreign
//! compiler, and with `--check` the check that what is committed is what would be written. A
//! program of its own, so that nothing else waits for what it is made of: `cargo xtask proto` runs
//! it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use prost_build::{Config, Method, Service, ServiceGenerator};

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
const SERVICES: &str = "services.rs";
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
    let services = Services::default();
    let mut config = Config::new();
    config.bytes(["."]).out_dir(&folder).service_generator(Box::new(services.clone()));
    let written = config.compile_fds(commented);
    let files = written.map_err(anyhow::Error::from).and_then(|()| read_all(&folder));
    fs::remove_dir_all(&folder)?;
    let mut files = files?;
    files.insert(PathBuf::from(DESCRIPTORS), encoded);
    files.insert(PathBuf::from(SERVICES), services.0.take().into_bytes());
    Ok(files)
}

/// The services as the macro of `crates/proto/src/service.rs` takes them.
#[derive(Clone, Default)]
struct Services(Rc<RefCell<String>>);

impl ServiceGenerator for Services {
    fn generate(&mut self, service: Service, _: &mut String) {
        let mut told = self.0.borrow_mut();
        let Service { name, package, .. } = &service;
        let module = name.to_lowercase();
        told.push_str("service! {\n");
        service.comments.append_with_indent(1, &mut told);
        *told += &format!("    {name} = \"{package}.{name}\",\n        ");
        *told += &format!("{module}_client::{name}Client, {module}_server::{name}Server;\n");
        for method in &service.methods {
            method.comments.append_with_indent(1, &mut told);
            let Method { name, proto_name, input_type, output_type, .. } = method;
            let (kind, stream) = match (method.client_streaming, method.server_streaming) {
                (false, false) => ("unary", String::new()),
                (false, true) => ("server_streaming", format!(" as {proto_name}Stream")),
                (true, _) => ("streaming", format!(" as {proto_name}Stream")),
            };
            let types = format!("({input_type}) -> {output_type}{stream}");
            *told += &format!("    {kind} \"{proto_name}\" {name}{types};\n");
        }
        told.push_str("}\n");
    }
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
