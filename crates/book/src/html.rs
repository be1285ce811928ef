//! Pages as HTML.

use std::collections::HashSet;

use pulldown_cmark::{CowStr, Event, LinkType, Options, Parser, Tag, TagEnd, html};

use crate::section::{anchor, is_name};
use crate::{DRAWINGS, PAGES, Page};

impl Page {
    /// The page as HTML, without what stands around it. Headings and rows of tables that
    /// begin with a name have anchors; links to other pages lead to `/docs/…`, and those to
    /// files of the repository are text. Drawings stand in the page itself; other pictures are
    /// their words. Nothing in it is inline style or script.
    #[must_use]
    pub fn html(&self) -> String {
        let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
        let events: Vec<Event<'static>> = Parser::new_ext(self.text, options).collect();
        let mut out = String::with_capacity(self.text.len() * 2);
        html::push_html(&mut out, Rewrite::of(self).all(events).into_iter());
        out
    }

    /// Where a link on this page leads; none if there is nothing at a reader's.
    fn leads_to(&self, link: &str) -> Option<String> {
        if link.contains("://") || link.starts_with('#') {
            return Some(link.to_owned());
        }
        let (path, fragment) =
            link.split_once('#').map_or((link, String::new()), |(path, to)| (path, format!("#{to}")));
        let mut parts: Vec<&str> = self.name.split('/').collect();
        parts.pop();
        for part in path.split('/') {
            match part {
                ".." => {
                    parts.pop()?;
                }
                "." => {}
                part => parts.push(part),
            }
        }
        let name = parts.join("/");
        let name = name.strip_suffix(".md")?;
        PAGES.iter().any(|page| page.name == name).then(|| format!("/docs/{name}{fragment}"))
    }
}

/// A table of so many columns keeps its head and its first column in sight while it scrolls, on
/// narrow screens, too. The rows of others become blocks there.
const MANY: usize = 5;
/// A name of more bytes may break into lines.
const LONG: usize = 50;

/// Changes the events of a page on their way.
struct Rewrite<'a> {
    page: &'a Page,
    ids: HashSet<String>,
    /// For each link that is open, whether it leads somewhere.
    links: Vec<bool>,
    /// The words of a picture are passed over: the drawing is there.
    drawn: bool,
}

impl<'a> Rewrite<'a> {
    fn of(page: &'a Page) -> Self {
        Self { page, ids: HashSet::new(), links: Vec::new(), drawn: false }
    }

    fn all(mut self, events: Vec<Event<'static>>) -> Vec<Event<'static>> {
        let mut changed = Vec::with_capacity(events.len());
        let mut first_cell = false;
        for (at, event) in events.iter().enumerate() {
            match event {
                Event::Start(Tag::Image { dest_url, .. }) => {
                    let drawing = DRAWINGS.iter().find(|(name, _)| *name == &**dest_url);
                    self.drawn = drawing.is_some();
                    changed.extend(drawing.map(|(_, svg)| markup(svg)));
                }
                Event::End(TagEnd::Image) => self.drawn = false,
                _ if self.drawn => {}
                Event::Start(Tag::Heading { level, classes, attrs, .. }) => {
                    let title =
                        events[at..].iter().take_while(|event| !matches!(event, Event::End(TagEnd::Heading(_))));
                    let title: String = title.filter_map(words).collect();
                    let id = self.new_id(anchor(&title)).map(CowStr::from);
                    let (level, classes, attrs) = (*level, classes.clone(), attrs.clone());
                    changed.push(Event::Start(Tag::Heading { level, id, classes, attrs }));
                }
                Event::Start(Tag::Table(columns)) => {
                    let class = match columns.len() {
                        MANY.. => "wide many",
                        _ if has_long_name(&events[at..]) => "wide long",
                        _ => "wide",
                    };
                    changed.push(markup(&format!(
                        "<div class=\"{class}\" tabindex=\"0\" role=\"region\" aria-label=\"Table\">"
                    )));
                    // Alignment would be a style of each cell.
                    changed.push(Event::Start(Tag::Table(vec![pulldown_cmark::Alignment::None; columns.len()])));
                }
                Event::End(TagEnd::Table) => {
                    changed.push(event.clone());
                    changed.push(markup("</div>"));
                }
                // Long lines scroll, also by the keyboard.
                Event::Start(Tag::CodeBlock(_)) => changed.push(markup("<pre tabindex=\"0\"><code>")),
                Event::End(TagEnd::CodeBlock) => changed.push(markup("</code></pre>\n")),
                Event::Start(Tag::TableRow) => {
                    first_cell = true;
                    changed.push(event.clone());
                }
                Event::End(TagEnd::TableCell) => {
                    first_cell = false;
                    changed.push(event.clone());
                }
                Event::Code(code) if first_cell => match self.new_name(code) {
                    Some(name) => changed.push(markup(&format!("<code id=\"{name}\">{name}</code>"))),
                    None => changed.push(event.clone()),
                },
                Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
                    let to = self.page.leads_to(dest_url);
                    self.links.push(to.is_some());
                    if let Some(to) = to {
                        changed.push(link(*link_type, to, title, id));
                    }
                }
                Event::End(TagEnd::Link) => {
                    if self.links.pop().unwrap_or_default() {
                        changed.push(event.clone());
                    }
                }
                Event::Html(_) | Event::InlineHtml(_) => {}
                Event::Start(Tag::HtmlBlock) | Event::End(TagEnd::HtmlBlock) => {}
                event => changed.push(event.clone()),
            }
        }
        changed
    }

    /// What stands in a cell, if it can be an id that nothing on the page has yet.
    fn new_name(&mut self, code: &str) -> Option<String> {
        if is_name(code) { self.new_id(code.to_owned()) } else { None }
    }

    /// The id, if nothing on the page has it yet.
    fn new_id(&mut self, id: String) -> Option<String> {
        (!id.is_empty() && self.ids.insert(id.clone())).then_some(id)
    }
}

/// Whether a cell of the table that begins these events has a name too long for one line.
fn has_long_name(events: &[Event<'static>]) -> bool {
    let mut table = events.iter().take_while(|event| !matches!(event, Event::End(TagEnd::Table)));
    table.any(|event| matches!(event, Event::Code(code) if code.len() > LONG))
}

fn words(event: &Event<'static>) -> Option<String> {
    match event {
        Event::Text(text) | Event::Code(text) => Some(text.to_string()),
        Event::SoftBreak | Event::HardBreak => Some(" ".to_owned()),
        _ => None,
    }
}

fn markup(text: &str) -> Event<'static> {
    Event::InlineHtml(CowStr::from(text.to_owned()))
}

fn link(link_type: LinkType, to: String, title: &CowStr<'static>, id: &CowStr<'static>) -> Event<'static> {
    Event::Start(Tag::Link { link_type, dest_url: CowStr::from(to), title: title.clone(), id: id.clone() })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use crate::PAGES;

    /// What stands in this attribute, over and over.
    fn attributes<'a>(html: &'a str, name: &str) -> Vec<&'a str> {
        html.split(&format!(" {name}=\"")).skip(1).filter_map(|rest| rest.split('"').next()).collect()
    }

    #[test]
    fn every_link_between_pages_leads_to_an_anchor_that_is_there() {
        let pages: BTreeMap<&str, String> = PAGES.iter().map(|page| (page.name, page.html())).collect();
        let mut followed = 0;
        for (name, html) in &pages {
            let ids = attributes(html, "id");
            let unique: BTreeSet<_> = ids.iter().collect();
            assert_eq!(unique.len(), ids.len(), "{name} has an id twice");
            for link in html.split("<a href=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
                let (path, fragment) = link.split_once('#').unwrap_or((link, ""));
                let target = match path.strip_prefix("/docs/") {
                    Some(target) => target,
                    None if path.is_empty() => *name,
                    None => {
                        assert!(link.contains("://"), "{name}: {link}");
                        continue;
                    }
                };
                let Some(there) = pages.get(target) else { panic!("{name}: {link}: no such page") };
                assert!(fragment.is_empty() || attributes(there, "id").contains(&fragment), "{name}: {link}");
                followed += 1;
            }
            assert!(!html.contains("style=") && !html.contains("<script"), "{name}");
        }
        assert!(followed > 100, "{followed}");
    }

    #[test]
    fn drawings_stand_in_the_page() {
        let html = crate::page("performance").expect("a page").html();
        assert!(html.contains("<svg") && !html.contains("<img"), "{html}");
    }

    #[test]
    fn blocks_of_code_are_reached_by_keyboard_and_nothing_in_them_is_markup() {
        let html = crate::page("clients").expect("a page").html();
        assert_eq!(html.matches("<pre").count(), html.matches("<pre tabindex=\"0\"><code>").count());
        assert!(html.contains("Task&lt;HttpResponseMessage&gt;") && !html.contains("<HttpResponseMessage>"), "{html}");
    }

    #[test]
    fn files_of_the_repository_are_text() {
        let html = crate::page("embedding").expect("a page").html();
        assert!(!html.contains("examples/own_tasks\">") && html.contains("examples/own_tasks"), "{html}");
    }
}
