//! The tasks that one is tied to, as a picture.

use longhaul_api::percent_encoded;
use longhaul_model::State;
use longhaul_model::store::linked::Relative;
use maud::{Markup, html};

/// What is in the picture.
pub(crate) struct Graph<'a> {
    /// The task itself: type, id, state.
    pub(crate) own: (&'a str, &'a str, State),
    /// The task whose part it is.
    pub(crate) parent: Option<&'a str>,
    /// What it waits or waited for.
    pub(crate) before: &'a [Relative],
    /// What waits or waited for it.
    pub(crate) after: &'a [Relative],
}

/// So many tasks are drawn in each direction.
pub(crate) const DRAWN: usize = 8;

const WIDTH: usize = 190;
const HEIGHT: usize = 40;
const GAP: usize = 12;
const LANE: usize = 60;

impl Graph<'_> {
    /// Whether there is anything to draw.
    pub(crate) fn is_empty(&self) -> bool {
        self.before.is_empty() && self.after.is_empty() && self.parent.is_none()
    }

    /// The picture: what comes before on the left, what comes after on the right.
    pub(crate) fn draw(&self) -> Markup {
        let shown = |list: &[Relative]| list.len().min(DRAWN);
        let rows = shown(self.before).max(shown(self.after)).max(1);
        let top = if self.parent.is_some() { HEIGHT + 28 } else { 0 };
        let tall = rows * (HEIGHT + GAP) - GAP;
        let left = if self.before.is_empty() { 0 } else { WIDTH + LANE };
        let right = if self.after.is_empty() { 0 } else { LANE + WIDTH };
        let (wide, high) = (left + WIDTH + right, top + tall);
        let middle = top + tall / 2;
        let place = |count: usize, at: usize| top + (tall - (count * (HEIGHT + GAP) - GAP)) / 2 + at * (HEIGHT + GAP);
        html! {
            svg.graph viewBox={ "-1 -1 " (wide + 2) " " (high + 2) } width=(wide + 2) height=(high + 2) role="group"
                aria-label={ "Waits for " (self.before.len()) " tasks; " (self.after.len()) " wait for it" } {
                @if self.parent.is_some() {
                    path.edge d={ "M" (left + WIDTH / 2) " " (HEIGHT) "V" (middle - HEIGHT / 2) } {}
                }
                @for at in 0..shown(self.before) {
                    (edge(WIDTH, place(shown(self.before), at) + HEIGHT / 2, left, middle))
                }
                @for at in 0..shown(self.after) {
                    (edge(left + WIDTH, middle, left + WIDTH + LANE, place(shown(self.after), at) + HEIGHT / 2))
                }
                @if let Some(parent) = self.parent {
                    (node(left, 0, "Parent", parent, None, false))
                }
                @for (at, relative) in self.before.iter().take(DRAWN).enumerate() {
                    (node(0, place(shown(self.before), at), &relative.type_name, &relative.public_id, Some(relative.state), false))
                }
                (node(left, middle - HEIGHT / 2, self.own.0, self.own.1, Some(self.own.2), true))
                @for (at, relative) in self.after.iter().take(DRAWN).enumerate() {
                    (node(left + WIDTH + LANE, place(shown(self.after), at), &relative.type_name, &relative.public_id, Some(relative.state), false))
                }
            }
        }
    }
}

fn edge(x: usize, y: usize, to_x: usize, to_y: usize) -> Markup {
    let bend = usize::midpoint(x, to_x);
    html! {
        path.edge d={ "M" (x) " " (y) "C" (bend) " " (y) " " (bend) " " (to_y) " " (to_x - 6) " " (to_y) } {}
        path.head d={ "M" (to_x) " " (to_y) "l-7 -4v8z" } {}
    }
}

fn node(x: usize, y: usize, name: &str, id: &str, state: Option<State>, own: bool) -> Markup {
    let class = state.map_or(String::new(), |state| format!("node-{}", state.name().to_lowercase()));
    let short: String = id.chars().rev().take(12).collect::<Vec<_>>().into_iter().rev().collect();
    let name: String =
        if name.chars().count() > 24 { name.chars().take(23).chain(['…']).collect() } else { name.to_owned() };
    let inside = html! {
        title { (id) }
        rect x=(x) y=(y) width=(WIDTH) height=(HEIGHT) rx="6" {}
        text.name x=(x + 10) y=(y + 17) { (name) }
        text.id x=(x + 10) y=(y + 32) { "…" (short) @if let Some(state) = state { " · " (state.name()) } }
    };
    if own {
        html! { g class={ "node own " (class) } { (inside) } }
    } else {
        html! { a href={ "/tasks/" (percent_encoded(id)) } class={ "node " (class) } { (inside) } }
    }
}
