//! A log of what a process did to its files, and the files as a power cut could have left them.
//!
//! What is kept: a file's bytes and length up to its last completed sync, and a directory's
//! entries up to its own. Anything later may be lost: each unit of each file holds the synced
//! bytes or those of any later write, each file has the synced length or any later one, and each
//! creation, removal or rename happened or did not.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One recorded event; `data` lies in the log's bytes.
pub(crate) struct Event {
    pub(crate) kind: u8,
    path: PathBuf,
    other: PathBuf,
    offset: u64,
    data: Range<usize>,
}

/// The events in a log's bytes; one that was cut off by a kill ends it.
pub(crate) fn events(log: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    let mut at = 0;
    while let Some(head) = log.get(at..at + 24) {
        let u32_at = |i: usize| u32::from_le_bytes(head[i..i + 4].try_into().unwrap()) as usize;
        let offset = u64::from_le_bytes(head[16..24].try_into().unwrap());
        let path = at + 24..at + 24 + u32_at(4);
        let other = path.end..path.end + u32_at(8);
        let data = other.end..other.end + u32_at(12);
        if data.end > log.len() {
            break;
        }
        let text = |range: Range<usize>| PathBuf::from(str::from_utf8(&log[range]).unwrap());
        let kind = head[0];
        at = data.end;
        events.push(Event { kind, path: text(path), other: text(other), offset, data });
    }
    events
}

/// How much of what was not synced is lost.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Loss {
    /// All of it.
    Everything,
    /// Any of it, in units of so many bytes.
    Units(usize),
}

/// Numbers from a seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }
}

type Node = usize;

enum Object {
    File { durable: Vec<u8>, pending: Vec<FileOp> },
    Dir { durable: Entries, live: Entries, pending: Vec<Vec<(String, Option<Node>)>> },
}

type Entries = BTreeMap<String, Node>;

enum FileOp {
    Write(u64, Range<usize>),
    Resize(u64),
}

/// The file system below a directory, durable and not.
pub(crate) struct Disk<'a> {
    log: &'a [u8],
    root: PathBuf,
    objects: Vec<Object>,
    /// Syncs under way: descriptor and path, the object, and how much was pending when it began.
    syncs: Vec<(u64, PathBuf, Node, usize)>,
    /// The last number acknowledged.
    pub(crate) acked: u64,
}

impl<'a> Disk<'a> {
    pub(crate) fn new(log: &'a [u8], root: &Path) -> Disk<'a> {
        let root = root.to_owned();
        Disk { log, root, objects: vec![empty_dir()], syncs: Vec::new(), acked: 0 }
    }

    pub(crate) fn apply(&mut self, event: &Event) {
        let Event { kind, path, other, offset, data } = event;
        match kind {
            b'a' => self.acked = u64::from_le_bytes(self.log[data.clone()].try_into().unwrap()),
            b'c' => self.add(path, Object::File { durable: Vec::new(), pending: Vec::new() }),
            b'd' => self.add(path, empty_dir()),
            b'u' => self.change(path, vec![(name(path), None)]),
            b'm' => {
                assert_eq!(path.parent(), other.parent(), "renames stay in their directory");
                let node = self.find(path);
                self.change(path, vec![(name(path), None), (name(other), Some(node))]);
            }
            b'w' => self.write(path, FileOp::Write(*offset, data.clone())),
            b't' => self.write(path, FileOp::Resize(*offset)),
            b'b' => {
                let node = self.find(path);
                let pending = match &self.objects[node] {
                    Object::File { pending, .. } => pending.len(),
                    Object::Dir { pending, .. } => pending.len(),
                };
                self.syncs.push((*offset, path.clone(), node, pending));
            }
            b's' | b'x' => {
                let begun = self.syncs.iter().position(|(fd, p, ..)| fd == offset && p == path);
                let (.., node, pending) = self.syncs.remove(begun.expect("a sync begins first"));
                if *kind == b's' {
                    self.sync(node, pending);
                }
            }
            other => panic!("event {other}"),
        }
    }

    /// Forgets the syncs that a kill cut short.
    pub(crate) fn kill(&mut self) {
        self.syncs.clear();
    }

    /// Writes to the empty directory `to` what a power cut now could have left.
    pub(crate) fn leave(&self, to: &Path, loss: Loss, random: &mut Random) {
        self.leave_object(0, to, loss, random);
    }

    fn leave_object(&self, node: Node, to: &Path, loss: Loss, random: &mut Random) {
        match &self.objects[node] {
            Object::File { durable, pending } => {
                std::fs::write(to, self.file(durable, pending, loss, random)).unwrap();
            }
            Object::Dir { durable, pending, .. } => {
                std::fs::create_dir_all(to).unwrap();
                let mut entries = durable.clone();
                for change in pending {
                    if matches!(loss, Loss::Units(_)) && random.below(2) == 0 {
                        apply_entries(&mut entries, change);
                    }
                }
                for (name, node) in entries {
                    self.leave_object(node, &to.join(name), loss, random);
                }
            }
        }
    }

    fn file(&self, durable: &[u8], pending: &[FileOp], loss: Loss, random: &mut Random) -> Vec<u8> {
        let Loss::Units(unit) = loss else { return durable.to_vec() };
        let mut length = durable.len() as u64;
        for op in &pending[..random.below(pending.len() + 1)] {
            length = match op {
                FileOp::Write(offset, data) => length.max(offset + data.len() as u64),
                FileOp::Resize(length) => *length,
            };
        }
        let mut bytes = durable.to_vec();
        bytes.resize(length as usize, 0);
        for start in (0..bytes.len()).step_by(unit) {
            let range = start..(start + unit).min(bytes.len());
            let touching: Vec<&FileOp> = pending.iter().filter(|op| touches(op, &range)).collect();
            for op in &touching[..random.below(touching.len() + 1)] {
                self.write_into(op, &mut bytes, &range);
            }
        }
        bytes
    }

    /// Does `op` within `range` only.
    fn write_into(&self, op: &FileOp, bytes: &mut [u8], range: &Range<usize>) {
        match op {
            FileOp::Write(offset, data) => {
                let offset = *offset as usize;
                let first = range.start.max(offset);
                let last = range.end.min(offset + data.len());
                let source = &self.log[data.start + first - offset..data.start + last - offset];
                bytes[first..last].copy_from_slice(source);
            }
            FileOp::Resize(length) => {
                let first = range.start.max((*length as usize).min(range.end));
                bytes[first..range.end].fill(0);
            }
        }
    }

    fn add(&mut self, path: &Path, object: Object) {
        self.objects.push(object);
        let node = self.objects.len() - 1;
        self.change(path, vec![(name(path), Some(node))]);
    }

    fn change(&mut self, path: &Path, entries: Vec<(String, Option<Node>)>) {
        let parent = self.find(path.parent().unwrap());
        let Object::Dir { live, pending, .. } = &mut self.objects[parent] else {
            panic!("{} has no directory", path.display());
        };
        apply_entries(live, &entries);
        pending.push(entries);
    }

    fn write(&mut self, path: &Path, op: FileOp) {
        let node = self.find(path);
        let Object::File { pending, .. } = &mut self.objects[node] else {
            panic!("{} is no file", path.display());
        };
        pending.push(op);
    }

    /// The first `count` of what is pending becomes durable.
    fn sync(&mut self, node: Node, count: usize) {
        let log = self.log;
        // Another sync of it may be under way; what it has yet to cover moves up.
        for (.., begun) in self.syncs.iter_mut().filter(|(.., other, _)| *other == node) {
            *begun = begun.saturating_sub(count);
        }
        match &mut self.objects[node] {
            Object::Dir { durable, pending, .. } => {
                pending.drain(..count).for_each(|change| apply_entries(durable, &change));
            }
            Object::File { durable, pending } => {
                for op in pending.drain(..count) {
                    match op {
                        FileOp::Resize(length) => durable.resize(length as usize, 0),
                        FileOp::Write(offset, data) => {
                            let (start, end) = (offset as usize, offset as usize + data.len());
                            durable.resize(durable.len().max(end), 0);
                            durable[start..end].copy_from_slice(&log[data]);
                        }
                    }
                }
            }
        }
    }

    fn find(&self, path: &Path) -> Node {
        let mut node = 0;
        for part in path.strip_prefix(&self.root).expect("a path below the root") {
            let Object::Dir { live, .. } = &self.objects[node] else {
                panic!("{} is not below a directory", path.display());
            };
            let part = part.to_str().unwrap();
            node = *live.get(part).unwrap_or_else(|| panic!("{} is not there", path.display()));
        }
        node
    }
}

fn empty_dir() -> Object {
    Object::Dir { durable: Entries::new(), live: Entries::new(), pending: Vec::new() }
}

fn touches(op: &FileOp, range: &Range<usize>) -> bool {
    match op {
        FileOp::Write(offset, data) => {
            (*offset as usize) < range.end && *offset as usize + data.len() > range.start
        }
        FileOp::Resize(length) => (*length as usize) < range.end,
    }
}

fn apply_entries(entries: &mut Entries, change: &[(String, Option<Node>)]) {
    for (name, node) in change {
        match node {
            Some(node) => entries.insert(name.clone(), *node),
            None => entries.remove(name),
        };
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}
