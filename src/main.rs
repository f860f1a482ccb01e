//! The `foreshadow` command: arguments in, exit code out. See [`foreshadow::cli`].

fn main() -> std::process::ExitCode {
    foreshadow::cli::main()
}
