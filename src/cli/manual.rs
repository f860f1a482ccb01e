//! Completions and manual pages, made from the same description as the parser.

use std::fs;
use std::path::Path;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use super::args::Args;
use super::exit::Failure;
use super::output::Output;

/// Writes the completions of `shell`.
pub(super) fn completions(shell: Shell, out: &mut Output) -> Result<(), Failure> {
    // The generator panics on a closed pipe if it writes by itself, so it fills a buffer.
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "foreshadow", &mut text);
    Ok(std::io::Write::write_all(out, &text)?)
}

/// Writes `foreshadow.8` and a page for each subcommand into `dir`.
pub(super) fn pages(dir: &Path, out: &mut Output) -> Result<(), Failure> {
    let mut root = Args::command();
    root.build();
    let mut written = 0;
    write_page(dir, root, "foreshadow", &mut written)?;
    out.note(format!("{written} pages in {}", dir.display()));
    Ok(())
}

fn write_page(
    dir: &Path,
    command: clap::Command,
    name: &str,
    written: &mut u32,
) -> Result<(), Failure> {
    let subcommands: Vec<_> =
        command.get_subcommands().filter(|sub| sub.get_name() != "help").cloned().collect();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.display_name(name.to_owned()))
        .title(name.to_uppercase())
        .section("8")
        .render(&mut page)?;
    let path = dir.join(format!("{name}.8"));
    fs::write(&path, page).with_context(|| format!("write {}", path.display()))?;
    *written += 1;
    for sub in subcommands {
        let name = format!("{name}-{}", sub.get_name());
        write_page(dir, sub, &name, written)?;
    }
    Ok(())
}
