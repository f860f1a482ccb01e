//! All histories and scores as bytes, and from them.
//!
//! `FSEE`, a version, the period in milliseconds, when instances were told of last; the fixed pools;
//! then each line. Numbers are little-endian; counts are runs of equal ones. The CRC-32C of all that
//! stands at the end. The model is not kept: it is fitted again in a moment.

use std::sync::Arc;

use crate::base::{NetworkId, Span, Timestamp};

use super::history::History;
use super::score::{Did, FIXED_MAX, Score, Scores};
use super::{ACCOUNTS_MAX, Foresight, Key, Line, Pace};

const MAGIC: &[u8] = b"FSEE\x01";
/// The longest name of an account or application that is read, in bytes.
const NAME_MAX: usize = 1024;
/// What an application that is none has for the length of its name.
const NO_NAME: u16 = u16::MAX;

/// Why bytes are no foresight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Cut off or changed.
    #[error("damaged: the checksum is not that of the rest")]
    Damaged,
    /// Of another program or version, or against its own format.
    #[error("not in this version's format")]
    Foreign,
    /// Of periods of another length: counts cannot be told apart.
    #[error("of periods of {0}, and now they are {1}")]
    Period(Span, Span),
}

impl Foresight {
    /// All that is to be there after a restart.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        put(&mut out, self.pace.period.0);
        put(&mut out, self.seen.map_or(0, |seen| seen.0));
        put(&mut out, self.scores.late);
        put_score(&mut out, &self.scores.total);
        self.scores.fixed.iter().for_each(|did| put_did(&mut out, did));
        put(&mut out, self.lines.len() as u64);
        for (key, line) in &self.lines {
            put_line(&mut out, key, line);
        }
        let sum = crc32c::crc32c(&out);
        out.extend(sum.to_le_bytes());
        out
    }

    /// What was kept. What came in the meantime nobody knows: it is a gap.
    pub fn from_bytes(pace: Pace, bytes: &[u8]) -> Result<Foresight, Unreadable> {
        let mut own = Foresight::new(pace);
        let end = bytes.len().checked_sub(4).ok_or(Unreadable::Damaged)?;
        let (body, sum) = bytes.split_at(end);
        if crc32c::crc32c(body).to_le_bytes() != sum {
            return Err(Unreadable::Damaged);
        }
        let mut from = body.strip_prefix(MAGIC).ok_or(Unreadable::Foreign)?;
        let period = Span(take(&mut from).ok_or(Unreadable::Foreign)?);
        if period != own.pace.period {
            return Err(Unreadable::Period(period, own.pace.period));
        }
        read(&mut own, &mut from).ok_or(Unreadable::Foreign)?;
        Ok(own)
    }
}

fn read(own: &mut Foresight, from: &mut &[u8]) -> Option<()> {
    own.seen = Some(take(from)?).filter(|at| *at > 0).map(Timestamp);
    let late = take(from)?;
    let total = take_score(from)?;
    let fixed: Option<Vec<Did>> = (0..=FIXED_MAX).map(|_| take_did(from)).collect();
    own.scores = Scores { total, fixed: fixed?, late };
    for _ in 0..usize::try_from(take(from)?).ok().filter(|n| *n <= ACCOUNTS_MAX)? {
        let (key, line) = take_line(from)?;
        own.lines.insert(key, line);
    }
    from.is_empty().then_some(())
}

fn put(out: &mut Vec<u8>, number: u64) {
    out.extend(number.to_le_bytes());
}

fn put_did(out: &mut Vec<u8>, did: &Did) {
    [did.hits, did.idle_halves, did.wasted].into_iter().for_each(|number| put(out, number));
}

fn put_score(out: &mut Vec<u8>, score: &Score) {
    [score.periods, score.creates, score.inside].into_iter().for_each(|number| put(out, number));
    put_did(out, &score.did);
}

fn put_line(out: &mut Vec<u8>, (network, (account, application)): &Key, line: &Line) {
    out.extend(network.0.to_le_bytes());
    put_name(out, Some(account));
    put_name(out, application.as_deref());
    put_score(out, &line.score);
    put(out, line.history.first());
    let counts: Vec<u16> = line.history.counts().map(|count| count.unwrap_or(u16::MAX)).collect();
    let runs: Vec<&[u16]> = counts.chunk_by(|a, b| a == b).collect();
    put(out, runs.len() as u64);
    for run in runs {
        let length = u16::try_from(run.len()).unwrap_or(u16::MAX);
        out.extend(length.to_le_bytes());
        out.extend(run.first().copied().unwrap_or_default().to_le_bytes());
    }
}

fn put_name(out: &mut Vec<u8>, name: Option<&str>) {
    let length = name.map_or(NO_NAME, |name| u16::try_from(name.len()).unwrap_or(NO_NAME));
    out.extend(length.to_le_bytes());
    out.extend(name.unwrap_or_default().as_bytes());
}

fn bytes<const N: usize>(from: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = from.split_first_chunk()?;
    *from = rest;
    Some(*taken)
}

fn take(from: &mut &[u8]) -> Option<u64> {
    bytes(from).map(u64::from_le_bytes)
}

fn take_short(from: &mut &[u8]) -> Option<u16> {
    bytes(from).map(u16::from_le_bytes)
}

fn take_did(from: &mut &[u8]) -> Option<Did> {
    Some(Did { hits: take(from)?, idle_halves: take(from)?, wasted: take(from)? })
}

fn take_score(from: &mut &[u8]) -> Option<Score> {
    let (periods, creates, inside) = (take(from)?, take(from)?, take(from)?);
    Some(Score { periods, creates, inside, did: take_did(from)? })
}

fn take_name(from: &mut &[u8]) -> Option<Option<Arc<str>>> {
    let length = take_short(from)?;
    if length == NO_NAME {
        return Some(None);
    }
    let length = usize::from(length);
    let (name, rest) = from.split_at_checked(length).filter(|_| length <= NAME_MAX)?;
    *from = rest;
    Some(Some(std::str::from_utf8(name).ok()?.into()))
}

fn take_line(from: &mut &[u8]) -> Option<(Key, Line)> {
    let network = NetworkId(u32::from_le_bytes(bytes(from)?));
    let (account, application) = (take_name(from)??, take_name(from)?);
    let score = take_score(from)?;
    let first = take(from)?;
    let mut counts = Vec::new();
    for _ in 0..take(from)? {
        let (length, count) = (take_short(from)?, take_short(from)?);
        let room = crate::forecast::creates::PERIODS_MAX.checked_sub(counts.len())?;
        let length = usize::from(length);
        counts.resize(counts.len() + length.min(room), Some(count).filter(|c| *c != u16::MAX));
    }
    // Beyond this no sum of periods is a number any more.
    let first = Some(first).filter(|first| *first < u64::MAX / 4)?;
    let history = History::from_counts(first, counts.into_iter());
    let line = Line { history, taught: None, open: Vec::new(), score };
    Some(((network, (account, application)), line))
}
