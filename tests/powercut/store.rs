//! The store alone: a process commits batches, is cut off twice, and whatever is left opens without
//! help, with every acknowledged batch, whole batches only.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::Work;
use crate::model;
use crate::recorder;
use crate::replay::{Disk, Log, Loss, Random};

/// Set for the writer process: where its store is, and the socket that its acknowledgements go to.
const WRITER: &str = "FORESHADOW_POWERCUT_WRITER";
const ACKS_TO: &str = "FORESHADOW_POWERCUT_ACKS";
/// Batches acknowledged before each end of the writer.
const ACKS: usize = 900;
/// Moments looked at; each with every kind of loss.
const CUTS: usize = 60;

/// Not a test: the process that [`every_acknowledged_batch_survives`] runs.
#[test]
fn writer_process() {
    let Ok(dir) = std::env::var(WRITER) else { return };
    let socket = UnixDatagram::unbound().unwrap();
    socket.connect(std::env::var(ACKS_TO).unwrap()).unwrap();
    let acknowledge = |n: u64| socket.send(&n.to_le_bytes()).map(drop);
    model::write(Path::new(&dir), acknowledge).unwrap();
}

#[test]
fn every_acknowledged_batch_survives() {
    let work = Work::new("store");
    let recorder = recorder::build(&work.0);
    let root = work.0.join("disk");
    std::fs::create_dir(&root).unwrap();
    run_writer(&recorder, &work.0, &root);
    run_writer(&recorder, &work.0, &root);
    let log = Log::read(&work.0.join("log"));
    let mut random = Random::new(0x5eed);
    let cuts = choose_cuts(&log, &mut random);

    let mut disk = Disk::new(&log, &root);
    let mut base = model::Model::default();
    let (mut acked, mut checked) = (0, 0);
    for (at, event) in log.events.iter().enumerate() {
        disk.apply(event);
        if event.kind == b'a' {
            acked = u64::from_le_bytes(log.data(event).try_into().unwrap());
        }
        if cuts.binary_search(&at).is_err() {
            continue;
        }
        base.advance(acked);
        for loss in Loss::ALL {
            let left = work.0.join("left");
            disk.leave(&left, loss, &mut random);
            let case = format!("cut after event {at}, {loss:?}, {acked} acknowledged");
            match model::verify(&base, &left.join("store"), acked) {
                Ok(Ok(_)) => {}
                Ok(Err(lost)) => panic!("{case}: {lost}"),
                Err(e) => panic!("{case}: does not open: {e}"),
            }
            std::fs::remove_dir_all(&left).unwrap();
            checked += 1;
        }
    }
    assert!(checked >= 3 * CUTS / 2, "only {checked} cuts were looked at");
    assert!(acked >= 2 * ACKS as u64);
}

/// Some moments anywhere, some right after an acknowledgement, some right after a change of
/// names: there the order of syncs matters most.
fn choose_cuts(log: &Log, random: &mut Random) -> Vec<usize> {
    let (acks, names, lives) = (log.of_kind(b"a"), log.of_kind(b"odmu"), log.of_kind(b"B"));
    assert!(acks.len() >= 2 * ACKS, "the recorder saw {} acknowledgements", acks.len());
    let mut cuts: Vec<usize> = (0..CUTS)
        .map(|i| match i % 3 {
            0 => random.below(log.events.len()),
            1 => random.of(&acks),
            _ => random.of(&names),
        })
        .chain(lives)
        .chain([log.events.len() - 1])
        .collect();
    cuts.sort_unstable();
    cuts.dedup();
    cuts
}

/// Runs the writer until it is cut off after its last acknowledgement.
fn run_writer(recorder: &Path, work: &Path, root: &Path) {
    let acks_to = work.join("acks");
    let _ = std::fs::remove_file(&acks_to);
    let acks = UnixDatagram::bind(&acks_to).unwrap();
    let mut writer = Command::new(recorder)
        .args([&work.join("log"), root, &std::env::current_exe().unwrap()])
        .args(["store::writer_process", "--exact", "--nocapture"])
        .env(WRITER, root.join("store"))
        .env(ACKS_TO, &acks_to)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    acks.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
    for n in 0..ACKS {
        let got = acks.recv(&mut [0; 8]);
        got.unwrap_or_else(|e| panic!("acknowledgement {n}: {e}: {:?}", writer.try_wait()));
    }
    kill_process(Pid::from_child(&writer), Signal::USR1).unwrap();
    let ended = writer.wait().unwrap();
    assert!(ended.success(), "the writer stopped before its time: {ended}");
}
