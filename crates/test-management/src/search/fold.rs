//! What makes two spellings of a word the same.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Appends `text` as it is compared: in one normal form (NFKC), in lower case, without
/// accents and invisible characters, and with the letters of [`letters`] in their place.
/// `Café`, `cafe` and `Ｃａｆｅ` are the same then.
pub(super) fn fold_into(text: &str, folded: &mut String) {
    // Nothing is composed or reordered across white space.
    for part in text.split_inclusive([' ', '\n', '\t']) {
        if part.is_ascii() {
            folded.extend(part.bytes().map(|byte| char::from(byte.to_ascii_lowercase())));
        } else {
            // Their decompositions would be letters of the word before them.
            let marked = part.chars().filter(|character| !matches!(character, '™' | '℠'));
            let bare = marked.nfkd().filter(|character| !is_dropped(*character)).flat_map(char::to_lowercase);
            folded.extend(Letters { bare, rest: "".chars() }.nfc());
        }
    }
}

/// Whether people who search leave it out: accents of Latin, Greek and Cyrillic letters,
/// vowel points of Hebrew and Arabic, and characters that can't be seen. Marks that make
/// other words, as in Japanese and in Indian scripts, stay.
fn is_dropped(character: char) -> bool {
    matches!(character,
        '\u{300}'..='\u{36f}' | '\u{483}'..='\u{487}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}'
        | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}'
        | '\u{591}'..='\u{5bd}' | '\u{5bf}' | '\u{5c1}' | '\u{5c2}' | '\u{5c4}' | '\u{5c5}' | '\u{5c7}'
        | '\u{610}'..='\u{61a}' | '\u{640}' | '\u{64b}'..='\u{65f}' | '\u{670}'
        | '\u{ad}' | '\u{61c}' | '\u{180b}'..='\u{180e}' | '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{2064}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
}

/// The letters that stand for one that has no decomposition: what is typed where a keyboard
/// lacks it.
fn letters(character: char) -> Option<&'static str> {
    Some(match character {
        'ß' => "ss",
        'æ' => "ae",
        'œ' => "oe",
        'þ' => "th",
        'ø' => "o",
        'đ' | 'ð' => "d",
        'ħ' => "h",
        'ı' => "i",
        'ł' => "l",
        'ŋ' => "n",
        'ŧ' => "t",
        'ς' => "σ",
        _ => return None,
    })
}

struct Letters<I> {
    bare: I,
    rest: std::str::Chars<'static>,
}

impl<I: Iterator<Item = char>> Iterator for Letters<I> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        if let Some(letter) = self.rest.next() {
            return Some(letter);
        }
        let character = self.bare.next()?;
        match letters(character) {
            Some(letters) => {
                self.rest = letters.chars();
                self.rest.next()
            }
            None => Some(character),
        }
    }
}

/// What a folded character is to the words around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// A part of a word.
    Letter,
    /// A part of a word in a script that is written without spaces, or, as Korean, with
    /// particles at its words: any two neighbours may be a word.
    Unspaced,
    /// Stands within what is pasted as one, as in `node.js`, `a/b` and `me@example.com`.
    Joiner,
    /// White space, quotation marks, brackets, and what lists are made with.
    Delimiter,
}

impl Class {
    pub(super) fn of(character: char) -> Self {
        match character {
            'a'..='z' | '0'..='9' => Self::Letter,
            '"' | '\'' | '`' | '<' | '>' | '(' | ')' | '[' | ']' | '{' | '}' | '|' | ',' | ';' => Self::Delimiter,
            _ if character.is_ascii() => {
                if character.is_ascii_graphic() {
                    Self::Joiner
                } else {
                    Self::Delimiter
                }
            }
            _ if is_unspaced(character) => Self::Unspaced,
            _ if character.is_alphanumeric() || is_combining_mark(character) => Self::Letter,
            // Dashes of many kinds, and the full stop that is half-way up.
            '\u{2010}'..='\u{2015}' | '\u{2212}' | '·' => Self::Joiner,
            _ => Self::Delimiter,
        }
    }
}

/// Letters of Chinese, Japanese, Korean, Thai, Lao, Burmese and Khmer.
fn is_unspaced(character: char) -> bool {
    let script = matches!(character,
        '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1100}'..='\u{11ff}' | '\u{1780}'..='\u{17ff}'
        | '\u{2e80}'..='\u{2fdf}' | '\u{3005}'..='\u{3007}' | '\u{3021}'..='\u{312f}' | '\u{31a0}'..='\u{31ff}'
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{a960}'..='\u{a97f}' | '\u{ac00}'..='\u{d7ff}'
        | '\u{f900}'..='\u{faff}' | '\u{1b000}'..='\u{1b16f}' | '\u{20000}'..='\u{3ffff}');
    script && (character.is_alphanumeric() || is_combining_mark(character))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::fold_into;

    fn folded(text: &str) -> String {
        let mut folded = String::new();
        fold_into(text, &mut folded);
        folded
    }

    #[test]
    fn spellings_of_one_word_are_the_same() {
        for (spelling, same) in [
            ("Café", "cafe"),
            ("Cafe\u{301}", "cafe"),
            ("ＣＡＦＥ", "cafe"),
            ("Straße", "strasse"),
            ("STRASSE", "strasse"),
            ("STRAẞE", "strasse"),
            ("Łódź", "lodz"),
            ("İstanbul ışık", "istanbul isik"),
            ("ΟΔΟΣ", "οδοσ"),
            ("οδός", "οδοσ"),
            ("Ёлка", "елка"),
            ("ﬁle", "file"),
            ("so\u{ad}ft", "soft"),
            ("Soft™", "soft"),
            ("عَرَبِيّ", "عربي"),
            ("ｶﾞｲﾄﾞ", "ガイド"),
            ("がか", "がか"),
            ("한국어", "한국어"),
            ("\u{1112}\u{1161}\u{11ab}국어", "한국어"),
            ("हिन्दी", "हिन्दी"),
        ] {
            assert_eq!(folded(spelling), same, "{spelling}");
        }
    }

    proptest! {
        #[test]
        fn what_is_folded_stays_as_it_is(text in "\\PC{0,20}") {
            let once = folded(&text);
            prop_assert_eq!(folded(&once), once);
        }
    }
}
