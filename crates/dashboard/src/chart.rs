//! Small charts of the last hour, as SVG without a script.

use maud::{Markup, html};

use crate::format::number;

/// A bar for each minute, its parts stacked from below.
pub(crate) struct Chart<'a> {
    /// What it shows, in words, for those who don't see it.
    pub(crate) title: &'a str,
    /// What a value is, e.g. `tasks` or `s`.
    pub(crate) unit: &'a str,
    /// The parts: name, class, and values by minute; `None` is not known.
    pub(crate) parts: Vec<(&'static str, &'static str, Vec<Option<f64>>)>,
    /// `21:50` for each minute.
    pub(crate) times: &'a [String],
}

const HEIGHT: f64 = 56.0;
const STEP: usize = 5;

impl Chart<'_> {
    /// The chart, with its scale above it.
    pub(crate) fn draw(&self) -> Markup {
        let minutes = self.times.len();
        let total = |at: usize| self.parts.iter().filter_map(|(.., values)| values[at]).sum::<f64>();
        let most = (0..minutes).map(total).fold(0.0, f64::max);
        let width = minutes * STEP;
        html! {
            svg.chart viewBox={ "0 0 " (width) " " (HEIGHT) } preserveAspectRatio="none" role="img"
                aria-label={ (self.title) " over the last hour: at most " (value(most)) " " (self.unit) } {
                line.base x1="0" x2=(width) y1=(HEIGHT - 0.5) y2=(HEIGHT - 0.5) {}
                @for at in 0..minutes {
                    @if total(at) > 0.0 {
                        g {
                            title { (self.says(at)) }
                            @for (class, top, height) in self.bar(at, most) {
                                rect class=(class) x=(at * STEP) width=(STEP - 1) y=(coordinate(top)) height=(coordinate(height)) {}
                            }
                        }
                    }
                }
            }
            div.scale { span { "1 h ago" } span { @if most > 0.0 { "most " (value(most)) } @else { "none" } } span { "now" } }
        }
    }

    fn bar(&self, at: usize, most: f64) -> Vec<(&'static str, f64, f64)> {
        let mut top = HEIGHT - 1.0;
        let mut rects = Vec::new();
        for (_, class, values) in &self.parts {
            let part = values[at].unwrap_or(0.0);
            if part > 0.0 {
                // What there is can be seen, however little it is.
                let height = (part / most * (HEIGHT - 4.0)).max(1.5);
                top -= height;
                rects.push((*class, top, height));
            }
        }
        rects
    }

    fn says(&self, at: usize) -> String {
        let parts: Vec<String> = (self.parts.iter())
            .filter_map(|(name, _, values)| Some(format!("{} {name}", value(values[at]?))))
            .collect();
        format!("{}: {}", self.times[at], parts.join(", "))
    }
}

fn coordinate(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

fn value(value: f64) -> String {
    if value == 0.0 || value >= 10.0 { number(value.round() as i64) } else { coordinate(value) }
}

#[cfg(test)]
mod tests {
    use super::Chart;

    #[test]
    fn bars_stay_within_the_chart_and_say_what_they_are() {
        let times: Vec<String> = (0..3).map(|minute| format!("21:0{minute}")).collect();
        let chart = Chart {
            title: "Ends",
            unit: "tasks",
            parts: vec![
                ("succeeded", "good", vec![Some(1_000.0), Some(0.0), None]),
                ("failed", "bad", vec![Some(1.0), Some(3.0), None]),
            ],
            times: &times,
        };
        for (_, top, height) in (0..3).flat_map(|at| chart.bar(at, 1_001.0)) {
            assert!(top >= 0.0 && top + height <= super::HEIGHT && height >= 1.5);
        }
        let drawn = chart.draw().into_string();
        assert!(drawn.contains("<title>21:00: 1,000 succeeded, 1 failed</title>"), "{drawn}");
        assert_eq!(drawn.matches("<rect").count(), 3);
    }

    #[test]
    fn an_hour_without_anything_is_a_line() {
        let times = vec![String::new(); 60];
        let chart = Chart { title: "Ends", unit: "tasks", parts: vec![("x", "x", vec![None; 60])], times: &times };
        assert!(!chart.draw().into_string().contains("NaN"));
    }
}
