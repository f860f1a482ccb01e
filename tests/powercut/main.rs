//! Simulated power cuts: a writer process runs with every change to its files recorded, is cut off
//! twice, and at many moments of its life the files are rebuilt as a disk could have left them.
//! Each time the store must open without help, with every acknowledged batch, whole batches only.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod model;
mod replay;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use replay::{Disk, Loss, Random};

/// Set for the writer process: where its store is.
const WRITER: &str = "FORESHADOW_POWERCUT_WRITER";
/// Batches acknowledged before each end of the writer.
const ACKS: usize = 900;
/// Moments looked at; each with every kind of loss.
const CUTS: usize = 60;

/// Not a test: the process that [`every_acknowledged_batch_survives`] runs.
#[test]
fn writer_process() {
    let Ok(dir) = std::env::var(WRITER) else { return };
    let mut acks = std::fs::File::options().write(true).open("/dev/stderr").unwrap();
    let acknowledge = |n: u64| std::io::Write::write_all(&mut acks, &n.to_le_bytes());
    model::write(Path::new(&dir), acknowledge).unwrap();
}

#[test]
fn every_acknowledged_batch_survives() {
    let work = Work::new();
    let recorder = compile_recorder(&work.0);
    let root = work.0.join("disk");
    std::fs::create_dir(&root).unwrap();
    let mut ends = Vec::new();
    for _ in 0..2 {
        run_writer(&recorder, &work.0, &root);
        ends.push(std::fs::read(work.0.join("log")).unwrap().len());
    }
    let log = std::fs::read(work.0.join("log")).unwrap();
    let events = replay::events(&log);
    let first_life = replay::events(&log[..ends[0]]).len();
    let mut random = Random(0x5eed);
    let cuts = choose_cuts(&events, first_life, &mut random);

    let mut disk = Disk::new(&log, &root);
    let mut base = model::Model::default();
    let mut checked = 0;
    for (at, event) in events.iter().enumerate() {
        disk.apply(event);
        if at + 1 == first_life {
            disk.kill();
        }
        if cuts.binary_search(&at).is_err() {
            continue;
        }
        base.advance(disk.acked);
        for loss in [Loss::Everything, Loss::Units(4096), Loss::Units(512)] {
            let left = work.0.join("left");
            disk.leave(&left, loss, &mut random);
            let case = format!("cut after event {at}, {loss:?}, {} acknowledged", disk.acked);
            match model::verify(&base, &left.join("store"), disk.acked) {
                Ok(Ok(_)) => {}
                Ok(Err(lost)) => panic!("{case}: {lost}"),
                Err(e) => panic!("{case}: does not open: {e}"),
            }
            std::fs::remove_dir_all(&left).unwrap();
            checked += 1;
        }
    }
    assert!(checked >= 3 * CUTS / 2, "only {checked} cuts were looked at");
    assert!(disk.acked >= 2 * ACKS as u64);
}

/// Some moments anywhere, some right after an acknowledgement, some right after a change of
/// names: there the order of syncs matters most.
fn choose_cuts(events: &[replay::Event], first_life: usize, random: &mut Random) -> Vec<usize> {
    let of_kind = |kinds: &[u8]| -> Vec<usize> {
        (0..events.len()).filter(|i| kinds.contains(&events[*i].kind)).collect()
    };
    let (acks, names) = (of_kind(b"a"), of_kind(b"cdmu"));
    assert!(acks.len() >= 2 * ACKS, "the recorder saw {} acknowledgements", acks.len());
    let mut cuts: Vec<usize> = (0..CUTS)
        .map(|i| match i % 3 {
            0 => random.below(events.len()),
            1 => acks[random.below(acks.len())],
            _ => names[random.below(names.len())],
        })
        .chain([0, first_life - 1, events.len() - 1])
        .collect();
    cuts.sort_unstable();
    cuts.dedup();
    cuts
}

/// Runs the writer until it is cut off after its last acknowledgement.
fn run_writer(recorder: &Path, work: &Path, root: &Path) {
    let writer = Command::new(std::env::current_exe().unwrap())
        .args(["writer_process", "--exact", "--nocapture"])
        .env(WRITER, root.join("store"))
        .env("LD_PRELOAD", recorder)
        .env("POWERCUT_DIR", root)
        .env("POWERCUT_LOG", work.join("log"))
        .env("POWERCUT_ACKS", "/dev/stderr")
        .env("POWERCUT_STOP", ACKS.to_string())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(work.join("acks")).unwrap())
        .status()
        .unwrap();
    assert!(writer.success(), "the writer stopped before its time: {writer}");
}

fn compile_recorder(work: &Path) -> PathBuf {
    let library = work.join("recorder.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/powercut/recorder.c");
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&library, &source])
        .arg("-ldl")
        .status()
        .expect("cc must be there: install the Debian package gcc");
    assert!(status.success(), "cc failed: are gcc and libc6-dev installed?");
    library
}

/// A directory of this test's own, on a real disk where there is one.
struct Work(PathBuf);

impl Work {
    fn new() -> Work {
        let dir =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cut-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Work(dir)
    }
}

/// Kept after a failure, for whoever looks into it.
impl Drop for Work {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}
