//! Parts of a page, by their anchors.

use crate::Page;

/// The anchor of a heading, as GitHub and mdBook name it.
pub(crate) fn anchor(title: &str) -> String {
    let letters = title.trim().to_lowercase();
    let letters = letters.chars().filter(|letter| letter.is_alphanumeric() || "-_ ".contains(*letter));
    letters.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

/// Whether a cell of a table can be an anchor: a name such as `not-json`.
pub(crate) fn is_name(cell: &str) -> bool {
    !cell.is_empty() && cell.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

impl Page {
    /// The lines of a page outside of blocks of code, with their numbers.
    fn prose(&self) -> impl Iterator<Item = (usize, &'static str)> {
        let mut code = false;
        self.text.lines().enumerate().filter(move |(_, line)| {
            let fence = line.trim_start().starts_with("```");
            code ^= fence;
            !code && !fence
        })
    }

    /// The row of a table that begins with this name.
    pub(crate) fn row(&self, name: &str) -> Option<&'static str> {
        let begins = format!("| `{name}` |");
        self.prose().map(|(_, line)| line).find(|line| is_name(name) && line.starts_with(&begins))
    }

    /// What stands under this heading, up to the next one as high; or the row of a table
    /// that begins with this name, a cell a line.
    #[must_use]
    pub fn section(&self, wanted: &str) -> Option<String> {
        let level = |line: &str| line.bytes().take_while(|byte| *byte == b'#').count();
        let mut headings = self.prose().filter(|(_, line)| line.starts_with('#'));
        if let Some((first, heading)) =
            headings.by_ref().find(|(_, line)| anchor(line.trim_start_matches('#')) == wanted)
        {
            let end = headings.find(|(_, line)| level(line) <= level(heading)).map_or(usize::MAX, |(line, _)| line);
            let lines: Vec<&str> = self.text.lines().take(end).skip(first).collect();
            return Some(format!("{}\n", lines.join("\n").trim_end()));
        }
        let row = self.row(wanted)?;
        let cells =
            |row: &str| row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
        let all: Vec<&str> = self.text.lines().collect();
        let at = all.iter().position(|line| *line == row)?;
        let rule = all[..at].iter().rposition(|line| line.starts_with("| ---"))?;
        let names = cells(all[rule.checked_sub(1)?]);
        Some(names.into_iter().zip(cells(row)).map(|(name, cell)| format!("{name}: {cell}\n")).collect())
    }
}

#[cfg(test)]
mod tests {
    use crate::page;

    #[test]
    fn a_section_is_what_stands_under_a_heading() {
        let doctor = page("cli").and_then(|page| page.section("doctor")).expect("a section");
        assert!(doctor.starts_with("## doctor\n") && doctor.contains("| migrations |"), "{doctor}");
        assert!(!doctor.contains("## Completions"), "{doctor}");
        assert!(page("cli").expect("a page").section("nothing").is_none());
    }

    #[test]
    fn a_row_is_told_a_cell_a_line() {
        let row = page("errors").and_then(|page| page.section("task-ended")).expect("a row");
        assert!(
            row.starts_with("code: `task-ended`\nstatus: 409\ntitle: The task has completed\nwhat to do: "),
            "{row}"
        );
    }
}
