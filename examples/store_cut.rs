//! A store that is killed and looked at: `store_cut write DIR` commits batches for ever and writes
//! the number of each durable one to standard output, eight bytes, little endian, one write call.
//! `store_cut verify DIR ACKED` opens what is left: it must hold whole batches only, and all of
//! them up to ACKED. Exit status 0: so it is; 3: something is lost or torn; else: it does not open.
//!
//! What batch n holds follows from n alone, so that the verifier knows what must be there.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

#[path = "../tests/powercut/model.rs"]
mod model;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["write", dir] => write(Path::new(dir)),
        ["verify", dir, acked] => verify(Path::new(dir), acked),
        _ => Err("usage: store_cut write DIR | verify DIR ACKED".into()),
    };
    match outcome {
        Ok(code) => code,
        Err(e) => {
            say(&e.to_string());
            ExitCode::from(2)
        }
    }
}

type Outcome = Result<ExitCode, Box<dyn std::error::Error>>;

fn write(dir: &Path) -> Outcome {
    let mut out = std::io::stdout();
    model::write(dir, |n| out.write_all(&n.to_le_bytes()).and_then(|()| out.flush()))?;
    Ok(ExitCode::SUCCESS)
}

fn verify(dir: &Path, acked: &str) -> Outcome {
    match model::verify(&model::Model::default(), dir, acked.parse()?)? {
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(lost) => {
            say(&lost);
            Ok(ExitCode::from(3))
        }
    }
}

fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "store_cut: {what}");
}
