//! What people ask for, as PostgreSQL's full-text search takes it.

use std::fmt::Write;

use super::fold::fold_into;
use super::words::{Kind, words};

/// Reads a question: words that must all occur, `"a phrase"`, `or`, `-not`. It is never
/// wrong: what means nothing is left out. Empty if there is no word in it.
///
/// What is typed without spaces (`node.js`, an address, a word in Chinese) is a phrase.
pub(super) fn tsquery(question: &str) -> String {
    let mut terms = terms(question);
    // `or` stands between two terms, or is a word.
    let is_or = |terms: &[Term], at: usize| {
        !terms[at].quoted
            && !terms[at].negated
            && terms[at].text.eq_ignore_ascii_case("or")
            && at > 0
            && at + 1 < terms.len()
    };
    let ors: Vec<bool> = (0..terms.len()).map(|at| is_or(&terms, at)).collect();
    let mut alternatives: Vec<Vec<String>> = vec![Vec::new()];
    for (term, or) in terms.drain(..).zip(ors) {
        if or {
            alternatives.push(Vec::new());
        } else if let (Some(expression), Some(all)) = (expression(&term.text), alternatives.last_mut()) {
            all.push(if term.negated { format!("!{expression}") } else { expression });
        }
    }
    let alternatives: Vec<String> =
        alternatives.iter().filter(|all| !all.is_empty()).map(|all| all.join(" & ")).collect();
    alternatives.join(" | ")
}

/// What must occur, or must not.
#[derive(Debug, PartialEq)]
struct Term {
    text: String,
    quoted: bool,
    negated: bool,
}

fn is_quotation_mark(character: char) -> bool {
    matches!(character, '"' | '“' | '”' | '„')
}

fn terms(question: &str) -> Vec<Term> {
    let mut terms = Vec::new();
    let mut rest = question.trim_start();
    while !rest.is_empty() {
        // A dash with a space behind it is one in a title, and two begin an option.
        let is_dash = |behind: &&str| behind.starts_with(|next: char| next == '-' || next.is_whitespace());
        let negated = rest.strip_prefix('-').filter(|behind| !is_dash(behind));
        let term = negated.unwrap_or(rest);
        let quoted = term.strip_prefix(is_quotation_mark).and_then(|inside| {
            let end = inside.find(is_quotation_mark)?;
            Some((&inside[..end], inside[end..].trim_start_matches(is_quotation_mark)))
        });
        let (text, behind) =
            quoted.unwrap_or_else(|| term.split_at(term.find(char::is_whitespace).unwrap_or(term.len())));
        terms.push(Term { text: text.to_owned(), quoted: quoted.is_some(), negated: negated.is_some() });
        rest = behind.trim_start();
    }
    terms
}

/// The words of a term one behind the other, or, if it is one token, the token.
fn expression(term: &str) -> Option<String> {
    let mut folded = String::with_capacity(term.len());
    fold_into(term, &mut folded);
    let (mut pieces, mut wholes) = (Vec::new(), Vec::new());
    words(&folded, |word| {
        match word.kind {
            Kind::Whole { pieces } => wholes.push((pieces, word)),
            // The pair before it has it.
            Kind::Last => {}
            Kind::Piece | Kind::Pair | Kind::Alone => pieces.push(word),
        }
        true
    });
    let mut phrase = String::new();
    let mut last = None;
    for word in &pieces {
        if let Some(last) = last {
            // Infallible: a String takes everything.
            let _written = write!(phrase, " <{}> ", word.position - last);
        }
        last = Some(word.position);
        quote(&folded[word.range.clone()], &mut phrase);
        if word.kind == Kind::Alone {
            // Every pair that begins with it.
            phrase.push_str(":*");
        }
    }
    match (pieces.len(), &wholes[..]) {
        (0, _) => None,
        (1, _) => Some(phrase),
        // A word that stands very often in a long text has lost its last places.
        (all, [(covered, whole)]) if all == *covered => {
            let mut either = "(".to_owned();
            quote(&folded[whole.range.clone()], &mut either);
            Some(format!("{either} | {phrase})"))
        }
        _ => Some(format!("({phrase})")),
    }
}

fn quote(word: &str, out: &mut String) {
    out.push('\'');
    for character in word.chars() {
        if matches!(character, '\'' | '\\') {
            out.push(character);
        }
        out.push(character);
    }
    out.push('\'');
}

#[cfg(test)]
mod tests {
    use super::tsquery;

    #[test]
    fn questions_are_read_as_people_mean_them() {
        for (question, expected) in [
            ("login fails", "'login' & 'fails'"),
            ("\"Login fails\" -linux", "('login' <1> 'fails') & !'linux'"),
            ("“Login fails”", "('login' <1> 'fails')"),
            ("a or b c OR d", "'a' | 'b' & 'c' | 'd'"),
            ("or else or", "'or' & 'else' & 'or'"),
            ("\"or\"", "'or'"),
            ("Login - fails", "'login' & 'fails'"),
            ("--verbose -.env", "'verbose' & !'env'"),
            ("-\"a b\"", "!('a' <1> 'b')"),
            ("TST-123", "('tst-123' | 'tst' <1> '123')"),
            (r"C:\x", r"('c:\\x' | 'c' <1> 'x')"),
            ("it's", "('it' <1> 's')"),
            ("a,b.c", "('a' <1> 'b' <1> 'c')"),
            ("5\" pipe", "'5' & 'pipe'"),
            ("\"open", "'open'"),
            ("日本語 猫", "('日本' <1> '本語') & '猫':*"),
            ("\"日本語 abc\"", "('日本' <1> '本語' <2> 'abc')"),
            ("!!! ' -", ""),
            ("a or ! or b", "'a' | 'b'"),
            ("", ""),
        ] {
            assert_eq!(tsquery(question), expected, "{question}");
        }
    }
}
