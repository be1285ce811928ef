//! Rust source as a row of tokens.

/// A part of Rust source; comments and literals are left out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    Name(String),
    /// `::`
    Below,
    Mark(char),
}

pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let letters: Vec<char> = source.chars().collect();
    let at = |index: usize| letters.get(index).copied().unwrap_or('\0');
    let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
    let (mut tokens, mut index) = (Vec::new(), 0);
    while index < letters.len() {
        match (at(index), at(index + 1)) {
            ('/', '/') => index += letters[index..].iter().take_while(|letter| **letter != '\n').count(),
            ('/', '*') => index = after_comment(&letters, index),
            ('"', _) => index = after_text(&letters, index),
            ('\'', next) => {
                // A letter, or a lifetime.
                let is_letter = next == '\\' || at(index + 2) == '\'';
                index += 1;
                if is_letter {
                    index += if next == '\\' { 2 } else { 1 };
                    index += letters[index..].iter().take_while(|letter| **letter != '\'').count() + 1;
                }
            }
            (':', ':') => {
                tokens.push(Token::Below);
                index += 2;
            }
            (letter, _) if is_name(letter) => {
                let name: String = letters[index..].iter().take_while(|letter| is_name(**letter)).collect();
                index += name.chars().count();
                let hashes = letters[index..].iter().take_while(|letter| **letter == '#').count();
                if matches!(name.as_str(), "r" | "br" | "cr") && at(index + hashes) == '"' {
                    index = after_raw_text(&letters, index + hashes + 1, hashes);
                } else {
                    tokens.push(Token::Name(name));
                }
            }
            (letter, _) => {
                if !letter.is_whitespace() {
                    tokens.push(Token::Mark(letter));
                }
                index += 1;
            }
        }
    }
    tokens
}

/// Comments of this kind nest.
fn after_comment(letters: &[char], begin: usize) -> usize {
    let (mut depth, mut index) = (0_usize, begin);
    while index < letters.len() {
        match letters[index..] {
            ['/', '*', ..] => (depth, index) = (depth + 1, index + 2),
            ['*', '/', ..] => (depth, index) = (depth - 1, index + 2),
            _ => index += 1,
        }
        if depth == 0 {
            break;
        }
    }
    index
}

fn after_text(letters: &[char], begin: usize) -> usize {
    let mut index = begin + 1;
    while index < letters.len() && letters[index] != '"' {
        index += if letters[index] == '\\' { 2 } else { 1 };
    }
    index + 1
}

fn after_raw_text(letters: &[char], begin: usize, hashes: usize) -> usize {
    let mut index = begin;
    while index < letters.len() {
        let ends = letters[index] == '"' && letters[index + 1..].iter().take(hashes).all(|letter| *letter == '#');
        index += 1;
        if ends {
            return index + hashes;
        }
    }
    index
}

/// The index after the group that begins here.
pub(crate) fn after_group(tokens: &[Token], begin: usize, open: char, close: char) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(begin) {
        if *token == Token::Mark(open) {
            depth += 1;
        } else if *token == Token::Mark(close) {
            depth -= 1;
            if depth == 0 {
                return index + 1;
            }
        }
    }
    tokens.len()
}

/// The index after the item that begins here.
pub(crate) fn after_item(tokens: &[Token], begin: usize) -> usize {
    let mut index = begin;
    while index < tokens.len() {
        match tokens[index] {
            Token::Mark(';') => return index + 1,
            Token::Mark('{') => return after_group(tokens, index, '{', '}'),
            Token::Mark('[') => index = after_group(tokens, index, '[', ']'),
            _ => index += 1,
        }
    }
    index
}
