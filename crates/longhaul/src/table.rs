//! Tables on a terminal.

use std::io::IsTerminal;

/// The last column has so many characters at least before others yield to it.
const LAST_AT_LEAST: usize = 10;

/// How a column yields to the last one.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Yields<'a> {
    /// This one is left out.
    Leaves(&'a str),
    /// This one is cut, to so many characters at least.
    Shrinks(&'a str, usize),
}

/// Columns as wide as their widest cell, under a heading; the last one is as long as
/// it is.
pub(crate) fn table<const N: usize>(heading: [&str; N], rows: &[[String; N]]) -> String {
    table_within(None, heading, rows, &[])
}

/// The same in lines of `width` characters at most: the last column is cut, and if too little
/// is left of it, other columns yield to it, one after the other.
pub(crate) fn table_within<const N: usize>(
    width: Option<usize>,
    heading: [&str; N],
    rows: &[[String; N]],
    first_to_yield: &[Yields<'_>],
) -> String {
    let mut widths: [usize; N] = std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([heading[column].chars().count()]).max().unwrap_or(0)
    });
    let mut columns: Vec<usize> = (0..N).collect();
    let mut room = usize::MAX;
    if let Some(width) = width {
        let mut first_to_yield = first_to_yield.iter();
        loop {
            let before: usize = columns.iter().rev().skip(1).map(|column| widths[*column] + 2).sum();
            room = width.saturating_sub(before);
            let wanted = columns.last().map_or(0, |last| widths[*last].min(LAST_AT_LEAST));
            let Some(next) = first_to_yield.next().filter(|_| room < wanted) else { break };
            match *next {
                Yields::Leaves(name) => columns.retain(|column| heading[*column] != name),
                Yields::Shrinks(name, least) => {
                    for column in (0..N).filter(|column| heading[*column] == name) {
                        let least = least.min(widths[column]);
                        widths[column] =
                            (width + widths[column]).saturating_sub(before + wanted).clamp(least, widths[column]);
                    }
                }
            }
        }
    }
    let line = |row: &[&str; N]| {
        let cells: Vec<String> = columns
            .iter()
            .map(|column| {
                let cell = row[*column];
                let width = widths[*column];
                if Some(column) == columns.last() { cut(cell, room) } else { format!("{:width$}", cut(cell, width)) }
            })
            .collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    let rows = rows.iter().map(|row| std::array::from_fn(|column| row[column].as_str()));
    std::iter::once(heading).chain(rows).map(|row| line(&row)).collect()
}

/// The beginning of a text, with a mark if that is not all of it.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain((most > 0).then_some('…')).collect()
}

/// The characters of a line where standard output is a terminal.
pub(crate) fn terminal_width() -> Option<usize> {
    if !std::io::stdout().is_terminal() {
        return None;
    }
    console::Term::stdout().size_checked().map(|(_, columns)| usize::from(columns)).filter(|columns| *columns > 0)
}

#[cfg(test)]
mod tests {
    use super::{Yields, table, table_within};

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let heading = ["ID", "QUEUE", "MESSAGE"];
        let rows = [["a-1", "default", "An error that is long"], ["a-22", "q", "ü"]].map(|row| row.map(str::to_owned));
        assert_eq!(
            table(heading, &rows),
            "ID    QUEUE    MESSAGE\na-1   default  An error that is long\na-22  q        ü\n"
        );
        let within = |width| table_within(Some(width), heading, &rows, &[Yields::Leaves("QUEUE")]);
        assert_eq!(within(100), table(heading, &rows));
        assert_eq!(within(32), "ID    QUEUE    MESSAGE\na-1   default  An error that is…\na-22  q        ü\n");
        assert_eq!(within(24), "ID    MESSAGE\na-1   An error that is …\na-22  ü\n");
        assert_eq!(within(8), "ID    M…\na-1   A…\na-22  ü\n");
        assert_eq!(within(4), "ID\na-1\na-22\n");
    }

    #[test]
    fn a_column_shrinks_before_it_is_left_out() {
        let heading = ["ID", "TYPE", "MESSAGE"];
        let rows = [["a-1", "AutomatedTestImport", "An error that is long"], ["a-22", "Nap", "ü"]];
        let rows = rows.map(|row| row.map(str::to_owned));
        let yields = [Yields::Shrinks("TYPE", 8), Yields::Leaves("TYPE")];
        let within = |width| table_within(Some(width), heading, &rows, &yields);
        assert_eq!(
            within(34),
            "ID    TYPE              MESSAGE\na-1   AutomatedTestIm…  An error …\na-22  Nap               ü\n"
        );
        assert_eq!(within(26), "ID    TYPE      MESSAGE\na-1   Automat…  An error …\na-22  Nap       ü\n");
        assert_eq!(within(25), "ID    MESSAGE\na-1   An error that is l…\na-22  ü\n");
    }
}
