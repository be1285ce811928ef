//! As much of the ZIP format (APPNOTE.TXT 6.3) as archives need that have neither 4 GiB nor secrets.

use std::io::Read;

use actix_web::web::Bytes;
use flate2::read::DeflateDecoder;

/// A file of an archive, as its directory (4.3.12) describes it.
struct Entry {
    path: &'static str,
    deflated: bool,
    checksum: u32,
    packed: &'static [u8],
}

/// The files of an archive that `name` gives a name to, by the names. What is not whole is left out.
pub(super) fn files(
    archive: &'static [u8],
    name: fn(&str) -> Option<&str>,
) -> impl Iterator<Item = (&'static str, Bytes)> {
    entries(archive).filter_map(move |entry| Some((name(entry.path)?, entry.unpack()?)))
}

/// The paths of all files and directories.
#[cfg(test)]
pub(super) fn paths(archive: &'static [u8]) -> impl Iterator<Item = &'static str> {
    entries(archive).map(|entry| entry.path)
}

fn entries(archive: &'static [u8]) -> impl Iterator<Item = Entry> {
    let mut place = directory(archive);
    std::iter::from_fn(move || {
        let (entry, next) = entry(archive, place?)?;
        place = Some(next);
        Some(entry)
    })
}

/// Where the directory begins: the end of the archive says it (4.3.16), and a comment may follow.
fn directory(archive: &[u8]) -> Option<usize> {
    let end = archive.windows(4).rposition(|bytes| bytes == b"PK\x05\x06")?;
    long(archive, end + 16)
}

/// The entry of the directory at this place, and the place of the next.
fn entry(archive: &'static [u8], place: usize) -> Option<(Entry, usize)> {
    archive.get(place..)?.strip_prefix(b"PK\x01\x02")?;
    let path_at = place + 46;
    let path_length = short(archive, place + 28)?;
    let path = std::str::from_utf8(archive.get(path_at..path_at + path_length)?).ok()?;
    let next = path_at + path_length + short(archive, place + 30)? + short(archive, place + 32)?;
    // The file's own header (4.3.7) repeats all that, at lengths of its own.
    let header = long(archive, place + 42)?;
    let start = header + 30 + short(archive, header + 26)? + short(archive, header + 28)?;
    let packed = archive.get(start..start + long(archive, place + 20)?)?;
    let checksum = u32::try_from(long(archive, place + 16)?).ok()?;
    Some((Entry { path, deflated: short(archive, place + 10)? == 8, checksum, packed }, next))
}

impl Entry {
    fn unpack(&self) -> Option<Bytes> {
        let bytes = if self.deflated {
            let mut bytes = Vec::new();
            DeflateDecoder::new(self.packed).read_to_end(&mut bytes).ok()?;
            bytes.into()
        } else {
            Bytes::from_static(self.packed)
        };
        (crc32fast::hash(&bytes) == self.checksum).then_some(bytes)
    }
}

fn short(bytes: &[u8], place: usize) -> Option<usize> {
    let bytes = bytes.get(place..place + 2)?.try_into().ok()?;
    Some(u16::from_le_bytes(bytes).into())
}

fn long(bytes: &[u8], place: usize) -> Option<usize> {
    let bytes = bytes.get(place..place + 4)?.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(bytes)).ok()
}
