//! What the index keeps of an entity: a `tsvector`, made here within the limits that
//! PostgreSQL sets (manual, 12.11), so that the server refuses none.

use super::fold::fold_into;
use super::words::words;

/// Bytes of a document's different words with their places. PostgreSQL takes 1,048,575.
const LIMIT: usize = 1_000_000;

/// A word counts as near to another one by its place, a number up to this. Longer texts begin
/// at 1 again, so that phrases are found in all of them.
const LAST_POSITION: usize = 16_383;

/// Places that are kept of one word.
const POSITIONS: usize = 255;

/// How much a word weighs, as `setweight` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    A = 3,
    B = 2,
    D = 0,
}

/// A document that is being made.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// All texts so far, folded.
    folded: String,
    entries: Vec<Entry>,
    /// At most so many bytes would be stored.
    bytes: usize,
    /// Positions so far.
    positions: usize,
    /// The limit that was reached, in per cent.
    full: usize,
    /// Something was left out.
    cut: bool,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    start: u32,
    end: u32,
    /// Weight and position as PostgreSQL keeps them.
    place: u16,
}

impl Document {
    /// Adds a text, until `limit` per cent of what a document may have are taken.
    pub(super) fn add(&mut self, text: &str, weight: Weight, limit: usize) {
        if limit <= self.full {
            self.cut = true;
            return;
        }
        let start = self.folded.len();
        let mut folded = std::mem::take(&mut self.folded);
        fold_into(text, &mut folded);
        let before = self.positions;
        let read = words(&folded[start..], |word| {
            let place = (before + word.position) % LAST_POSITION + 1;
            let place = u16::try_from(place).unwrap_or_default() | ((weight as u16) << 14);
            self.push(&folded, start + word.range.start, start + word.range.end, place, limit)
        });
        // No phrase goes from one text to the next.
        self.positions += if read == 0 { 0 } else { read + 1 };
        self.folded = folded;
    }

    /// `false` when there is no room.
    fn push(&mut self, folded: &str, start: usize, end: usize, place: u16, limit: usize) -> bool {
        let bytes = stored(end - start, 1);
        let most = limit * LIMIT / 100;
        if self.bytes + bytes > most {
            self.bytes = self.group(folded, |_, _| {});
            // Grouping again for the next few words would gain nothing.
            if self.bytes + bytes > most - most / 8 {
                self.full = limit;
                self.cut = true;
                return false;
            }
        }
        let (Ok(start), Ok(end)) = (u32::try_from(start), u32::try_from(end)) else { return false };
        self.entries.push(Entry { start, end, place });
        self.bytes += bytes;
        true
    }

    /// Sorts the entries by their words, leaves out those whose word has enough places, and
    /// calls `each` with every word and its entries. Returns how many bytes are stored.
    fn group(&mut self, folded: &str, mut each: impl FnMut(&str, &[Entry])) -> usize {
        let text = |entry: &Entry| &folded[entry.start as usize..entry.end as usize];
        self.entries.sort_by(|one, other| text(one).cmp(text(other)));
        let mut kept = Vec::with_capacity(self.entries.len());
        let mut bytes = 0;
        for same in self.entries.chunk_by(|one, other| text(one) == text(other)) {
            let same = &same[..same.len().min(POSITIONS)];
            bytes += stored(text(&same[0]).len(), same.len());
            each(text(&same[0]), same);
            kept.extend_from_slice(same);
        }
        self.entries = kept;
        bytes
    }

    /// Appends the document as PostgreSQL's `tsvectorrecv` reads it, and says whether all of
    /// the texts is in it.
    pub(super) fn write(mut self, out: &mut Vec<u8>) -> bool {
        let count_at = out.len();
        out.extend([0; 4]);
        let mut count = 0_u32;
        let mut places = Vec::new();
        let folded = std::mem::take(&mut self.folded);
        self.group(&folded, |word, same| {
            count += 1;
            out.extend(word.as_bytes());
            out.push(0);
            places.clear();
            places.extend(same.iter().map(|entry| entry.place));
            // Of one position the highest weight, which its first bits are.
            places.sort_unstable_by_key(|place| (place & 0x3fff, u16::MAX - place));
            places.dedup_by_key(|place| *place & 0x3fff);
            out.extend(u16::try_from(places.len()).unwrap_or_default().to_be_bytes());
            out.extend(places.iter().flat_map(|place| place.to_be_bytes()));
        });
        out[count_at..count_at + 4].copy_from_slice(&count.to_be_bytes());
        !self.cut
    }
}

/// Bytes that PostgreSQL stores of a word: its letters to an even number, how many places,
/// and the places.
fn stored(letters: usize, places: usize) -> usize {
    letters.next_multiple_of(2) + 2 + 2 * places
}

#[cfg(test)]
mod tests {
    use super::{Document, LIMIT, Weight};

    /// A word with its places and weights.
    type Written = (String, Vec<(u16, u16)>);

    /// The words, bytes that are stored, and whether all is there.
    fn written(document: Document) -> (Vec<Written>, usize, bool) {
        let mut out = Vec::new();
        let whole = document.write(&mut out);
        let number = |at: usize| u16::from_be_bytes([out[at], out[at + 1]]);
        let (mut at, mut bytes) = (4, 0);
        let mut words: Vec<Written> = Vec::new();
        while at < out.len() {
            let end = at + out[at..].iter().position(|byte| *byte == 0).expect("an end");
            let places: Vec<u16> = (0..usize::from(number(end + 1))).map(|n| number(end + 3 + 2 * n)).collect();
            bytes += super::stored(end - at, places.len());
            words.push((
                String::from_utf8(out[at..end].to_vec()).expect("letters"),
                places.iter().map(|place| (place & 0x3fff, place >> 14)).collect(),
            ));
            at = end + 3 + 2 * places.len();
        }
        assert_eq!(u32::from_be_bytes([out[0], out[1], out[2], out[3]]) as usize, words.len());
        assert!(words.is_sorted_by(|one, other| one.0.as_bytes() < other.0.as_bytes()));
        assert!(words.iter().all(|(_, places)| places.is_sorted_by(|one, other| one.0 < other.0)));
        (words, bytes, whole)
    }

    #[test]
    fn words_have_their_places_and_weights() {
        let mut document = Document::default();
        document.add("b a b", Weight::A, 100);
        document.add("a", Weight::D, 100);
        let (words, _, whole) = written(document);
        assert_eq!(words, [("a".to_owned(), vec![(2, 3), (5, 0)]), ("b".to_owned(), vec![(1, 3), (3, 3)])]);
        assert!(whole);
    }

    #[test]
    fn many_words_end_at_the_limit_and_few_that_come_again_do_not() {
        let mut document = Document::default();
        document.add(&"same words ".repeat(200_000), Weight::B, 80);
        document.add("late", Weight::B, 100);
        let (words, _, whole) = written(document);
        assert_eq!((words.len(), whole), (3, true));
        assert_eq!(words[1].1.len(), 255);

        let mut document = Document::default();
        document.add(&(0..300_000).map(|n| format!("{n} ")).collect::<String>(), Weight::B, 80);
        document.add("late", Weight::D, 100);
        let (words, bytes, whole) = written(document);
        assert!((LIMIT * 7 / 10..LIMIT * 8 / 10 + 20).contains(&bytes), "{bytes}");
        assert!(words.iter().any(|(word, _)| word == "late"), "another text has room of its own");
        assert!(!whole);
    }

    #[test]
    fn positions_begin_again_in_long_texts() {
        let mut document = Document::default();
        document.add(&(format!("{}x y", "a ".repeat(16_382))), Weight::B, 100);
        let (words, ..) = written(document);
        assert_eq!((&words[1].1, &words[2].1), (&vec![(16_383, 2)], &vec![(1, 2)]));
    }
}
