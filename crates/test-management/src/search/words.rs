//! Texts and questions as words. Both are read by [`words`] alone, so a question finds
//! what was read from the same text.

use std::ops::Range;

use super::fold::Class;

/// Longer pieces are known by their beginning, in bytes. PostgreSQL takes words of up to
/// 2,046 bytes.
const PIECE_LIMIT: usize = 255;

/// Longer tokens are not kept whole, in bytes: a question has at most 1,000.
const WHOLE_LIMIT: usize = 1_000;

/// A word of a folded text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    /// Where it stands in the text, in bytes.
    pub(super) range: Range<usize>,
    /// How many pieces are before it.
    pub(super) position: usize,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Letters and digits up to the next other character.
    Piece,
    /// Two neighbours in a script without spaces. Every character begins one, and what is
    /// left of the last of several is `Last`.
    Pair,
    /// The last of several characters in a script without spaces.
    Last,
    /// A character of a script without spaces that has no neighbour of its kind.
    Alone,
    /// Pieces with what joins them: an address, a path, a version. It stands at the place of
    /// its first piece and has this many.
    Whole { pieces: usize },
}

/// Calls `each` for every word of a folded text in the order of their ends, until it says
/// `false`. Returns the number of positions.
pub(super) fn words(folded: &str, mut each: impl FnMut(Word) -> bool) -> usize {
    let mut reader = Reader { folded, position: 0, piece: None, pair: None, whole: None };
    for (at, character) in folded.char_indices() {
        let class = Class::of(character);
        let mut goes_on = true;
        if class != Class::Letter {
            goes_on &= reader.end_piece(at, &mut each);
        }
        if class != Class::Unspaced {
            goes_on &= reader.end_run(at, &mut each);
        }
        match class {
            // A version is the same with it and without.
            Class::Letter if character == 'v' && reader.piece.is_none() && is_version(&folded[at + 1..]) => {}
            Class::Letter => reader.piece = reader.piece.or(Some(at)),
            Class::Unspaced => {
                goes_on &= reader.end_whole(&mut each);
                goes_on &= reader.pair(at, at + character.len_utf8(), &mut each);
            }
            Class::Delimiter => goes_on &= reader.end_whole(&mut each),
            Class::Joiner => {}
        }
        if !goes_on {
            return reader.position;
        }
    }
    let end = folded.len();
    let _goes_on = reader.end_piece(end, &mut each) && reader.end_run(end, &mut each) && reader.end_whole(&mut each);
    reader.position
}

/// Whether it begins with two numbers and a dot between them.
fn is_version(text: &str) -> bool {
    let behind = text.trim_start_matches(|character: char| character.is_ascii_digit());
    behind.len() < text.len()
        && behind.strip_prefix('.').is_some_and(|minor| minor.starts_with(|next: char| next.is_ascii_digit()))
}

struct Reader<'t> {
    folded: &'t str,
    position: usize,
    /// Where the piece began.
    piece: Option<usize>,
    /// Where the last character without spaces around it began, and whether one was before it.
    pair: Option<(usize, bool)>,
    /// What may be a token of several pieces.
    whole: Option<Whole>,
}

struct Whole {
    range: Range<usize>,
    position: usize,
    pieces: usize,
}

impl Reader<'_> {
    fn end_piece(&mut self, end: usize, each: &mut impl FnMut(Word) -> bool) -> bool {
        let Some(start) = self.piece.take() else { return true };
        let whole = self.whole.get_or_insert(Whole { range: start..end, position: self.position, pieces: 0 });
        whole.range.end = end;
        whole.pieces += 1;
        let range = start..self.folded.floor_char_boundary(end.min(start + PIECE_LIMIT));
        self.emit(range, Kind::Piece, each)
    }

    fn end_whole(&mut self, each: &mut impl FnMut(Word) -> bool) -> bool {
        match self.whole.take() {
            Some(Whole { range, position, pieces }) if pieces > 1 && range.len() <= WHOLE_LIMIT => {
                each(Word { range, position, kind: Kind::Whole { pieces } })
            }
            _ => true,
        }
    }

    /// The next character of a run.
    fn pair(&mut self, start: usize, end: usize, each: &mut impl FnMut(Word) -> bool) -> bool {
        match self.pair.replace((start, self.pair.is_some())) {
            Some((first, _)) => self.emit(first..end, Kind::Pair, each),
            None => true,
        }
    }

    fn end_run(&mut self, end: usize, each: &mut impl FnMut(Word) -> bool) -> bool {
        match self.pair.take() {
            Some((start, after_another)) => {
                self.emit(start..end, if after_another { Kind::Last } else { Kind::Alone }, each)
            }
            None => true,
        }
    }

    fn emit(&mut self, range: Range<usize>, kind: Kind, each: &mut impl FnMut(Word) -> bool) -> bool {
        let position = self.position;
        self.position += 1;
        each(Word { range, position, kind })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Kind, words};
    use crate::search::fold::fold_into;

    /// The words, each with its position; wholes in brackets.
    fn read(text: &str) -> String {
        let mut folded = String::new();
        fold_into(text, &mut folded);
        let mut read = Vec::new();
        words(&folded, |word| {
            let text = &folded[word.range];
            read.push(match word.kind {
                Kind::Whole { .. } => format!("[{text}]{}", word.position),
                _ => format!("{text}{}", word.position),
            });
            true
        });
        read.join(" ")
    }

    #[test]
    fn what_is_joined_is_kept_in_pieces_and_whole() {
        for (text, expected) in [
            ("Login fails", "login0 fails1"),
            ("see http://x.org/a-b.", "see0 http1 x2 org3 a4 b5 [http://x.org/a-b]1"),
            ("<Me@Example.com>, node.js", "me0 example1 com2 [me@example.com]0 node3 js4 [node.js]3"),
            (r"C:\Temp\a_b", r"c0 temp1 a2 b3 [c:\temp\a_b]0"),
            ("TST-123, C++ - v1.2.3", "tst0 1231 [tst-123]0 c2 13 24 35 [1.2.3]3"),
            ("rev1.2 v12 v1x", "rev10 21 [rev1.2]0 v122 v1x3"),
            ("日本語の", "日本0 本語1 語の2 の3"),
            ("猫 abc日", "猫0 abc1 日2"),
            ("詳細はhttps://x.jp/aを参照", "詳細0 細は1 は2 https3 x4 jp5 a6 [https://x.jp/a]3 を参7 参照8 照9"),
            ("한국어를", "한국0 국어1 어를2 를3"),
            ("!!! … \u{0}\u{7}", ""),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn long_words_are_known_by_their_beginning() {
        let long = "ü".repeat(1_000);
        let mut ends = Vec::new();
        words(&long, |word| {
            ends.push((word.range.start, word.range.end));
            true
        });
        assert_eq!(ends, [(0, 254)]);
        assert_eq!(read(&format!("{}.b", "a".repeat(1_000))), format!("{}0 b1", "a".repeat(255)), "not kept whole");
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "\\PC{0,60}|[a.日\u{300} ]{0,20}") {
            read(&text);
        }
    }
}
