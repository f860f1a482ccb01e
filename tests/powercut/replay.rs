//! A log of what a process did to its files, and the files as a power cut could have left them.
//!
//! What is kept: a file's bytes and length up to its last completed sync, and a directory's
//! entries up to its own. Anything later may be lost: each unit of each file holds the synced
//! bytes or those of any later write, each file has the synced length or any later one, and each
//! creation, removal or rename happened or did not. A sync that fails leaves any of what it was to
//! cover, and no later sync makes up for the rest: Linux marks the lost pages clean.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What the recorder wrote.
pub(crate) struct Log {
    bytes: Vec<u8>,
    pub(crate) events: Vec<Event>,
}

/// One recorded event; `data` lies in the log's bytes.
pub(crate) struct Event {
    /// `a`: a packet leaves; others as in `recorder.c`.
    pub(crate) kind: u8,
    /// Wall clock, in microseconds.
    pub(crate) at_us: u64,
    path: PathBuf,
    other: PathBuf,
    inode: u64,
    offset: u64,
    data: Range<usize>,
}

/// Bytes of an event before its texts and data.
const HEAD: usize = 40;

impl Log {
    /// Reads a whole log; fails the test where the program did what cannot be followed.
    pub(crate) fn read(path: &Path) -> Log {
        let bytes = std::fs::read(path).unwrap();
        let mut log = Log { bytes, events: Vec::new() };
        let mut at = 0;
        while at < log.bytes.len() {
            let event = log.event(at);
            at = event.data.end;
            if event.kind == b'!' {
                panic!("not to be followed: {}", String::from_utf8_lossy(log.data(&event)));
            }
            log.events.push(event);
        }
        log
    }

    fn event(&self, at: usize) -> Event {
        let head = &self.bytes[at..at + HEAD];
        let u32_at = |i: usize| u32::from_le_bytes(head[i..i + 4].try_into().unwrap()) as usize;
        let u64_at = |i: usize| u64::from_le_bytes(head[i..i + 8].try_into().unwrap());
        let path = at + HEAD..at + HEAD + u32_at(4);
        let other = path.end..path.end + u32_at(8);
        let data = other.end..other.end + u32_at(12);
        let text = |range: Range<usize>| PathBuf::from(str::from_utf8(&self.bytes[range]).unwrap());
        let (inode, offset, at_us) = (u64_at(16), u64_at(24), u64_at(32));
        Event { kind: head[0], at_us, path: text(path), other: text(other), inode, offset, data }
    }

    /// The data of an event: what was written or sent.
    pub(crate) fn data(&self, event: &Event) -> &[u8] {
        &self.bytes[event.data.clone()]
    }

    /// Where the events of these kinds are.
    pub(crate) fn of_kind(&self, kinds: &[u8]) -> Vec<usize> {
        (0..self.events.len()).filter(|i| kinds.contains(&self.events[*i].kind)).collect()
    }
}

/// How much of what was not synced is lost.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Loss {
    /// All of it.
    Everything,
    /// Any of it, in units of so many bytes.
    Units(usize),
}

impl Loss {
    /// Each kind that there is.
    pub(crate) const ALL: [Loss; 3] = [Loss::Everything, Loss::Units(4096), Loss::Units(512)];
}

/// Numbers from a seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        // Seeds that are close give numbers that are not; none is zero.
        Random(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 16) % n.max(1) as u64) as usize
    }

    pub(crate) fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
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

/// A sync under way.
struct Sync {
    thread: u64,
    node: Node,
    /// How much was pending when it began.
    covers: usize,
}

/// The file system below a directory, durable and not.
pub(crate) struct Disk<'a> {
    log: &'a Log,
    root: PathBuf,
    objects: Vec<Object>,
    /// The newest object with each inode number.
    inodes: BTreeMap<u64, Node>,
    syncs: Vec<Sync>,
    /// Decides what a failed sync left.
    random: Random,
}

impl<'a> Disk<'a> {
    /// Before the first event; `root` was empty then.
    pub(crate) fn new(log: &'a Log, root: &Path) -> Disk<'a> {
        use std::os::unix::fs::MetadataExt;
        let inodes = BTreeMap::from([(std::fs::metadata(root).unwrap().ino(), 0)]);
        let (root, objects, random) = (root.to_owned(), vec![empty_dir()], Random::new(0));
        Disk { log, root, objects, inodes, syncs: Vec::new(), random }
    }

    pub(crate) fn apply(&mut self, event: &Event) {
        let Event { kind, path, other, inode, offset, data, .. } = event;
        match kind {
            b'a' => {}
            // A life ends with its syncs.
            b'B' => self.syncs.clear(),
            b'o' => {
                if self.find(path).is_none_or(|node| self.inodes.get(inode) != Some(&node)) {
                    let empty = Object::File { durable: Vec::new(), pending: Vec::new() };
                    self.add(path, *inode, empty);
                }
                if *offset != 0 {
                    self.write(*inode, FileOp::Resize(0));
                }
            }
            b'd' => self.add(path, *inode, empty_dir()),
            b'u' => self.change(path, vec![(name(path), None)]),
            b'm' => {
                assert_eq!(path.parent(), other.parent(), "renames stay in their directory");
                let node = self.find(path).expect("what is renamed is there");
                self.change(path, vec![(name(path), None), (name(other), Some(node))]);
            }
            b'w' => self.write(*inode, FileOp::Write(*offset, data.clone())),
            b't' => self.write(*inode, FileOp::Resize(*offset)),
            b'b' => {
                let node = self.inodes[inode];
                let covers = match &self.objects[node] {
                    Object::File { pending, .. } => pending.len(),
                    Object::Dir { pending, .. } => pending.len(),
                };
                self.syncs.push(Sync { thread: *offset, node, covers });
            }
            b's' | b'x' => {
                let begun = self.syncs.iter().position(|sync| sync.thread == *offset);
                let sync = self.syncs.remove(begun.expect("a sync begins first"));
                match kind {
                    b's' => self.sync(sync.node, sync.covers),
                    _ => self.fail(sync.node, sync.covers),
                }
            }
            other => panic!("event {other}"),
        }
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
                let source =
                    &self.log.bytes[data.start + first - offset..data.start + last - offset];
                bytes[first..last].copy_from_slice(source);
            }
            FileOp::Resize(length) => {
                let first = range.start.max((*length as usize).min(range.end));
                bytes[first..range.end].fill(0);
            }
        }
    }

    fn add(&mut self, path: &Path, inode: u64, object: Object) {
        self.objects.push(object);
        let node = self.objects.len() - 1;
        self.inodes.insert(inode, node);
        self.change(path, vec![(name(path), Some(node))]);
    }

    fn change(&mut self, path: &Path, entries: Vec<(String, Option<Node>)>) {
        let parent = self.find(path.parent().unwrap()).expect("a directory that is there");
        let Object::Dir { live, pending, .. } = &mut self.objects[parent] else {
            panic!("{} is in no directory", path.display());
        };
        apply_entries(live, &entries);
        pending.push(entries);
    }

    fn write(&mut self, inode: u64, op: FileOp) {
        let Object::File { pending, .. } = &mut self.objects[self.inodes[&inode]] else {
            panic!("a write into a directory");
        };
        pending.push(op);
    }

    /// The first `count` of what is pending becomes durable.
    fn sync(&mut self, node: Node, count: usize) {
        let log = self.log;
        self.settle(node, count);
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
                            durable[start..end].copy_from_slice(&log.bytes[data]);
                        }
                    }
                }
            }
        }
    }

    /// The first `count` of what is pending reached the disk or did not, for good.
    fn fail(&mut self, node: Node, count: usize) {
        self.settle(node, count);
        let mut random = Random(self.random.0);
        let left = match &self.objects[node] {
            Object::Dir { .. } => None,
            Object::File { durable, pending } => {
                Some(self.file(durable, &pending[..count], Loss::Units(512), &mut random))
            }
        };
        match (&mut self.objects[node], left) {
            (Object::File { durable, pending }, Some(left)) => {
                *durable = left;
                pending.drain(..count);
            }
            (Object::Dir { durable, pending, .. }, _) => {
                let kept = pending.drain(..count).filter(|_| random.below(2) == 0);
                kept.for_each(|change| apply_entries(durable, &change));
            }
            _ => {}
        }
        self.random = random;
    }

    /// Another sync of it may be under way; what that has yet to cover moves up.
    fn settle(&mut self, node: Node, count: usize) {
        for sync in self.syncs.iter_mut().filter(|sync| sync.node == node) {
            sync.covers = sync.covers.saturating_sub(count);
        }
    }

    fn find(&self, path: &Path) -> Option<Node> {
        let mut node = 0;
        for part in path.strip_prefix(&self.root).expect("a path below the root") {
            let Object::Dir { live, .. } = &self.objects[node] else { return None };
            node = *live.get(part.to_str().unwrap())?;
        }
        Some(node)
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
