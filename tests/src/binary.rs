//! The program under test.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The `hm-server` of this source tree, built if it is missing or stale.
///
/// Cargo builds a package's programs for its own integration tests only, and these tests are in another package: so
/// it is asked once in each process, for the profile and the folder that this test was built with. Features depend
/// on what is built together; asking for the whole workspace finds what `cargo test --workspace` has built.
///
/// The program is copied, so that no build that comes later changes what is being tested.
///
/// # Panics
///
/// When it can't be built.
pub fn hm_server() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(build)
}

fn build() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    // target/<profile>/deps/<test>
    let [folder, target] = [2, 3].map(|up| test.ancestors().nth(up).expect("a folder of cargo"));
    let mut cargo = Command::new(variable("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["test", "--quiet", "--no-run", "--workspace", "--test", "sources"])
        .args(profile(folder))
        .current_dir(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .parent()
                .expect("the workspace"),
        )
        .env("CARGO_TARGET_DIR", target)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_about_this_package(name)) {
        cargo.env_remove(name);
    }
    let status = cargo.status().expect("cargo");
    assert!(status.success(), "hm-server can't be built");
    keep(
        &folder.join(name_of("hm-server")),
        &target.join("tmp"),
        test.file_name().expect("a name"),
    )
}

fn profile(folder: &Path) -> Vec<&OsStr> {
    match folder.file_name() {
        Some(name) if name == "debug" => Vec::new(),
        Some(name) => vec![OsStr::new("--profile"), name],
        None => Vec::new(),
    }
}

/// What cargo tells a test about its own package would make build scripts of others run again.
fn is_about_this_package(name: &OsStr) -> bool {
    let about = [
        "CARGO_PKG_",
        "CARGO_MANIFEST_",
        "CARGO_BIN_",
        "CARGO_CRATE_",
        "CARGO_PRIMARY_",
    ];
    let name = name.to_string_lossy();
    about.iter().any(|prefix| name.starts_with(prefix)) || name == "LD_LIBRARY_PATH"
}

/// Copies the program to a place that only this build of the tests uses. Another process of the same build may do so
/// at the same time.
fn keep(program: &Path, folder: &Path, test: &OsStr) -> PathBuf {
    fs::create_dir_all(folder).expect("a folder for the program");
    let draft = tempfile::Builder::new()
        .prefix("hm-server-")
        .tempdir_in(folder)
        .expect("a folder for a draft");
    let draft = draft.path().join("program");
    fs::copy(program, &draft).expect("a copy of the program");
    let kept = folder.join(name_of(&format!("hm-server-for-{}", test.to_string_lossy())));
    fs::rename(&draft, &kept).expect("a place for the program");
    kept
}

fn name_of(program: &str) -> String {
    format!("{program}{}", std::env::consts::EXE_SUFFIX)
}

#[expect(clippy::disallowed_methods, reason = "cargo tells tests where it is")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
