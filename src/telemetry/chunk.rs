//! The points or buckets of one series in a segment: columns, each compressed by pco where that
//! makes it smaller.

use pco::ChunkConfig;
use pco::data_types::Number;
use pco::standalone::{simple_compress, simple_decompress_into};

use crate::base::Timestamp;

use super::codec::{Reader, Unreadable, put_bytes, put_count};
use super::model::{Bucket, Resolution};

/// Most rows of one chunk: what one segment may hold of one series.
pub(super) const ROWS_MAX: usize = 4 << 20;

/// As they are, little-endian.
const PLAIN: u8 = 0;
const PCO: u8 = 1;

/// The buckets of one series, ascending in time; with [`Resolution::Raw`], points.
pub(super) fn encode(buckets: &[Bucket], resolution: Resolution) -> Vec<u8> {
    let mut out = Vec::new();
    put_count(buckets.len(), &mut out);
    let width = resolution.width().0;
    let numbers = |get: fn(&Bucket) -> u64| buckets.iter().map(get).collect::<Vec<u64>>();
    let floats = |get: fn(&Bucket) -> f64| buckets.iter().map(get).collect::<Vec<f64>>();
    let starts: Vec<u64> = buckets.iter().map(|b| b.start.0 / width).collect();
    put_column(&starts, &mut out);
    put_column(&floats(|b| b.last), &mut out);
    if resolution != Resolution::Raw {
        put_column(&numbers(|b| b.count), &mut out);
        put_column(&floats(|b| b.sum), &mut out);
        put_column(&floats(|b| b.min), &mut out);
        put_column(&floats(|b| b.max), &mut out);
    }
    out
}

/// Back from [`encode`].
pub(super) fn decode(bytes: &[u8], resolution: Resolution) -> Result<Vec<Bucket>, Unreadable> {
    let mut reader = Reader { rest: bytes };
    let rows = reader.u32()? as usize;
    if rows > ROWS_MAX {
        return Err(Unreadable);
    }
    let width = resolution.width().0;
    let starts = column::<u64>(&mut reader, rows)?;
    let last = column::<f64>(&mut reader, rows)?;
    let time = |start: u64| Ok(Timestamp(start.checked_mul(width).ok_or(Unreadable)?));
    if resolution == Resolution::Raw {
        let point = |(start, value)| {
            let start = time(start)?;
            Ok(Bucket { start, count: 1, sum: value, min: value, max: value, last: value })
        };
        return starts.into_iter().zip(last).map(point).collect();
    }
    let count = column::<u64>(&mut reader, rows)?;
    let sum = column::<f64>(&mut reader, rows)?;
    let min = column::<f64>(&mut reader, rows)?;
    let max = column::<f64>(&mut reader, rows)?;
    let mut out = Vec::with_capacity(rows);
    let columns = starts.into_iter().zip(count).zip(sum).zip(min).zip(max).zip(last);
    for (((((start, count), sum), min), max), last) in columns {
        out.push(Bucket { start: time(start)?, count, sum, min, max, last });
    }
    Ok(out)
}

/// A number of eight bytes.
trait Cell: Number + Default + Copy {
    fn bytes(self) -> [u8; 8];
    fn of(bytes: [u8; 8]) -> Self;
}

impl Cell for u64 {
    fn bytes(self) -> [u8; 8] {
        self.to_le_bytes()
    }
    fn of(bytes: [u8; 8]) -> u64 {
        u64::from_le_bytes(bytes)
    }
}

impl Cell for f64 {
    fn bytes(self) -> [u8; 8] {
        self.to_le_bytes()
    }
    fn of(bytes: [u8; 8]) -> f64 {
        f64::from_le_bytes(bytes)
    }
}

fn put_column<T: Cell>(cells: &[T], out: &mut Vec<u8>) {
    let packed = simple_compress(cells, &ChunkConfig::default());
    match packed {
        Ok(packed) if packed.len() < cells.len() * 8 => {
            out.push(PCO);
            put_bytes(&packed, out);
        }
        _ => {
            out.push(PLAIN);
            cells.iter().for_each(|cell| out.extend_from_slice(&cell.bytes()));
        }
    }
}

fn column<T: Cell>(reader: &mut Reader<'_>, rows: usize) -> Result<Vec<T>, Unreadable> {
    match reader.u8()? {
        PLAIN => {
            let bytes = reader.take(rows.checked_mul(8).ok_or(Unreadable)?)?;
            Ok(bytes.as_chunks::<8>().0.iter().map(|cell| T::of(*cell)).collect())
        }
        PCO => {
            let packed = reader.bytes()?;
            // It fills no more than it is given room for.
            let mut cells = vec![T::default(); rows];
            let progress = simple_decompress_into(packed, &mut cells).map_err(|_| Unreadable)?;
            if progress.n_processed == rows && progress.finished {
                Ok(cells)
            } else {
                Err(Unreadable)
            }
        }
        _ => Err(Unreadable),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::telemetry::model::{Point, downsample};

    fn points(count: u64, value: impl Fn(u64) -> f64) -> Vec<Bucket> {
        let point = |i| Point { time: Timestamp(1_800_000_000_000 + i * 10_000), value: value(i) };
        (0..count).map(|i| Bucket::of(point(i))).collect()
    }

    #[test]
    fn regular_points_are_small() {
        let noise = |i: u64| ((i * 2_654_435_761) % 1000) as f64;
        let two_digits = encode(&points(360, |i| noise(i) / 10.0), Resolution::Raw);
        assert!(two_digits.len() < 360 * 2, "{}", two_digits.len());
        let constant = encode(&points(360, |_| 0.25), Resolution::Raw);
        assert!(constant.len() < 120, "{}", constant.len());
    }

    #[test]
    fn damage_is_no_panic() {
        let sound = encode(&points(100, |i| i as f64), Resolution::Raw);
        for at in 0..sound.len() {
            let mut damaged = sound.clone();
            damaged[at] ^= 0x55;
            let _ = decode(&damaged, Resolution::Raw);
            let _ = decode(&sound[..at], Resolution::Raw);
        }
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_back(
            rows in prop::collection::vec((0u64..1 << 42, -1e18f64..1e18), 0..200),
        ) {
            let mut points: Vec<Bucket> = rows
                .into_iter()
                .map(|(time, value)| Bucket::of(Point { time: Timestamp(time), value }))
                .collect();
            points.sort_by_key(|b| b.start);
            prop_assert_eq!(&decode(&encode(&points, Resolution::Raw), Resolution::Raw).unwrap(), &points);
            let coarse = downsample(points, Resolution::FiveMinutes.width());
            let packed = encode(&coarse, Resolution::FiveMinutes);
            prop_assert_eq!(decode(&packed, Resolution::FiveMinutes).unwrap(), coarse);
        }
    }
}
