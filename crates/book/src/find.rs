//! Searching the book.

use std::collections::HashSet;
use std::sync::LazyLock;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use crate::section::anchor;
use crate::{PAGES, Page};

/// A section in which all words were found.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    /// Its page.
    pub page: &'static Page,
    /// Its heading; empty for what stands at the top of a page.
    pub heading: &'static str,
    /// The anchor of its heading; empty for the top of a page.
    pub anchor: &'static str,
    /// A piece of its text: what stands before a word that was found, the word, and what
    /// stands after it.
    pub excerpt: (&'static str, &'static str, &'static str),
}

/// What stands under one heading, up to the next heading of any level.
struct Part {
    page: &'static Page,
    level: u8,
    heading: String,
    anchor: String,
    text: String,
    /// The same in small letters, as searched. The book is English: other letters than
    /// ASCII's stay as they are, so that both have the same length.
    small: String,
}

/// Every part of the book, in its order.
static PARTS: LazyLock<Vec<Part>> = LazyLock::new(|| PAGES.iter().flat_map(parts).collect());

/// So many words of a query count.
const WORDS: usize = 8;
/// Letters of an excerpt on each side of the word.
const AROUND: usize = 90;

/// The sections that contain all of these words, or words that begin with them, best first.
#[must_use]
pub fn find(query: &str, limit: usize) -> Vec<Found> {
    let query = query.trim().to_ascii_lowercase();
    let words: Vec<&str> = query.split_whitespace().take(WORDS).collect();
    if words.is_empty() {
        return Vec::new();
    }
    let mut found: Vec<(u32, &'static Part)> =
        PARTS.iter().filter_map(|part| Some((part.score(&words, &query)?, part))).collect();
    // The sort is stable: equals stay in the order of the book.
    found.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    found.into_iter().take(limit).map(|(_, part)| part.shown(&words)).collect()
}

impl Page {
    /// The headings of its sections and their anchors.
    pub fn headings(&'static self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let own = PARTS.iter().filter(move |part| part.page.name == self.name && part.level == 2);
        own.map(|part| (part.heading.as_str(), part.anchor.as_str())).filter(|(_, anchor)| !anchor.is_empty())
    }
}

fn parts(page: &'static Page) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut anchors = HashSet::new();
    let mut in_heading = false;
    let new = |level| Part {
        page,
        level,
        heading: String::new(),
        anchor: String::new(),
        text: String::new(),
        small: String::new(),
    };
    for event in Parser::new_ext(page.text, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH) {
        match event {
            Event::Start(Tag::Heading { level, .. }) => {
                in_heading = true;
                parts.push(new(level as u8));
                continue;
            }
            Event::End(TagEnd::Heading(_)) => {
                in_heading = false;
                if let Some(part) = parts.last_mut().filter(|part| part.level > 1) {
                    let id = anchor(&part.heading);
                    // Of two equal headings only the first has an anchor.
                    part.anchor = if anchors.insert(id.clone()) { id } else { String::new() };
                }
                continue;
            }
            _ => {}
        }
        if parts.is_empty() {
            parts.push(new(1));
        }
        let Some(part) = parts.last_mut() else { continue };
        let to = if in_heading { &mut part.heading } else { &mut part.text };
        match event {
            Event::Text(text) | Event::Code(text) => to.push_str(&text.replace('\n', " ")),
            Event::SoftBreak
            | Event::HardBreak
            | Event::End(TagEnd::Paragraph | TagEnd::Item | TagEnd::CodeBlock | TagEnd::TableCell) => {
                to.push(' ');
            }
            _ => {}
        }
    }
    for part in &mut parts {
        // The page's title is that of the table of contents.
        if part.level == 1 {
            part.heading.clear();
        }
        part.small = part.text.to_ascii_lowercase();
    }
    parts
}

/// Where a word begins with these letters.
fn starts<'a>(text: &'a str, letters: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_start = move |at: usize| !text[..at].chars().next_back().is_some_and(char::is_alphanumeric);
    text.match_indices(letters).map(|(at, _)| at).filter(move |at| is_start(*at))
}

impl Part {
    /// How well it fits; `None` if it lacks a word.
    fn score(&self, words: &[&str], query: &str) -> Option<u32> {
        let heading = self.heading.to_ascii_lowercase();
        let title = self.page.title.to_ascii_lowercase();
        let mut score = 0;
        let mut in_text = false;
        for word in words {
            let of_heading = starts(&heading, word).next().is_some();
            let of_title = starts(&title, word).next().is_some();
            let times = starts(&self.small, word).take(5).count();
            if !of_heading && !of_title && times == 0 {
                return None;
            }
            in_text |= of_heading || times > 0;
            score += u32::from(of_heading) * 20 + u32::from(of_title) * 8 + u32::try_from(times).unwrap_or_default();
        }
        // A page's title is that of all its sections: the first stands for it.
        if !in_text && !self.heading.is_empty() {
            return None;
        }
        let whole = words.len() > 1 && self.small.contains(query);
        let named = heading == query || (self.heading.is_empty() && title == query);
        Some(score + u32::from(whole) * 10 + u32::from(named) * 40)
    }

    fn shown(&'static self, words: &[&str]) -> Found {
        let first = words.iter().filter_map(|word| Some((starts(&self.small, word).next()?, word.len()))).min();
        let (at, length) = first.unwrap_or_default();
        let from = self.text[..at].char_indices().rev().take(AROUND).last().map_or(at, |(from, _)| from);
        let from = if from == 0 { 0 } else { self.text[from..at].find(' ').map_or(from, |space| from + space + 1) };
        let end = at + length;
        let to = self.text[end..].char_indices().nth(AROUND).map_or(self.text.len(), |(to, _)| end + to);
        // Words are whole at both ends.
        let to = if to == self.text.len() { to } else { self.text[end..to].rfind(' ').map_or(to, |space| end + space) };
        let excerpt = (&self.text[from..at], &self.text[at..end], self.text[end..to].trim_end());
        Found { page: self.page, heading: &self.heading, anchor: &self.anchor, excerpt }
    }
}

#[cfg(test)]
mod tests {
    use super::{PARTS, find};

    #[test]
    fn all_words_are_found_and_headings_come_first() {
        let found = find("cron expressions", 10);
        let first = found.first().expect("something");
        assert_eq!((first.page.name, first.anchor), ("scheduling", "cron-expressions"));
        for found in find("poison task", 50) {
            let mut same =
                PARTS.iter().filter(|part| part.page.name == found.page.name && part.heading == found.heading);
            let has = |text: &str| {
                found.page.title.to_lowercase().contains(text) || found.heading.to_lowercase().contains(text)
            };
            assert!(
                same.any(|part| ["poison", "task"].iter().all(|word| has(word) || part.small.contains(word))),
                "{found:?}"
            );
        }
        assert!(find("", 10).is_empty() && find("   ", 10).is_empty());
        assert!(find("pineapple-zeppelin", 10).is_empty());
        assert_eq!(find("task", 7).len(), 7);
    }

    #[test]
    fn a_part_begins_words_and_case_does_not_matter() {
        assert!(!find("heartb", 5).is_empty());
        assert!(find("eartbeat", 5).is_empty(), "in the middle of a word");
        let names = |query| find(query, 20).iter().map(|found| (found.page.name, found.anchor)).collect::<Vec<_>>();
        assert_eq!(names("PgBouncer"), names("pgbouncer"));
    }

    #[test]
    fn every_section_found_has_its_anchor_and_an_excerpt_with_the_word() {
        for word in ["lease", "é", "…", "`", "<", "not-runnable"] {
            for found in find(word, 100) {
                assert!(found.excerpt.1.is_empty() || found.excerpt.1.eq_ignore_ascii_case(word), "{found:?}");
                let html = found.page.html();
                assert!(
                    found.anchor.is_empty() || html.contains(&format!("id=\"{}\"", found.anchor)),
                    "{} has no #{}",
                    found.page.name,
                    found.anchor
                );
            }
        }
    }

    #[test]
    fn headings_of_a_page_are_its_sections() {
        let page = crate::page("retries").expect("a page");
        let headings: Vec<_> = page.headings().collect();
        assert!(headings.contains(&("Leases", "leases")), "{headings:?}");
    }
}
