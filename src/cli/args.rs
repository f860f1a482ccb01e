//! What may be typed.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

/// Where the configuration is unless the command says otherwise.
pub const DEFAULT_CONFIG: &str = "/etc/foreshadow/foreshadow.toml";

/// A DHCP server for hypervisor networks.
#[derive(Debug, Parser)]
#[command(name = "foreshadow", version, about, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 command line makes no sense, 3 configuration has faults,
4 server cannot be reached, 5 store damaged or newer, 6 no such lease or network.";

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server in the foreground
    Serve(Serve),
    /// Check a configuration file, and show every fault at its line
    Check(Check),
    /// Show a server and real clients at work in a private network namespace
    Lab(crate::lab::Args),
    /// Write shell completions to standard output
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the manual pages to a directory
    Man {
        /// An existing directory
        dir: PathBuf,
    },
}

/// `serve`.
#[derive(Debug, clap::Args)]
pub struct Serve {
    /// The configuration file
    #[arg(long, short, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub config: PathBuf,
    /// Answer nothing; log what would have been said, beside the answers of other servers
    #[arg(long)]
    pub observe: bool,
    /// Start although the store is damaged, and say what could not be read
    #[arg(long)]
    pub recover: bool,
}

/// `check`.
#[derive(Debug, clap::Args)]
pub struct Check {
    /// The configuration file
    #[arg(value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub file: PathBuf,
    /// Print the faults and warnings as JSON
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::exit::Exit;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn help_lists_every_exit_code() {
        for (exit, _) in Exit::ALL {
            assert!(EXIT_CODES.contains(&format!("{} ", *exit as u8)), "{exit:?}");
        }
    }
}
