//! The scene on a terminal.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Gauge, Paragraph, Row, Sparkline, Table};
use serde_json::Value;

use super::scene::{Focus, Scene};
use crate::command::body::{left, text};
use crate::command::queue::{limits, state};
use longhaul_model::store::findings::span;

/// Characters of a task's bar.
const BAR: usize = 20;

/// Draws everything.
pub(super) fn paint(frame: &mut Frame, program: &str, scene: &mut Scene) {
    let queues = u16::try_from(scene.queues.len()).unwrap_or(u16::MAX).clamp(1, 10) + 3;
    let [head, curves, lists, tasks, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(5),
        Constraint::Length(queues),
        Constraint::Min(4),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let said = scene.notice.clone().unwrap_or_default();
    frame.render_widget(Line::from(vec![Span::styled(format!("{program} top  "), bold), said.into()]), head);
    paint_curves(frame, scene, curves);
    let [left, right] = Layout::horizontal([Constraint::Percentage(55), Constraint::Percentage(45)]).areas(lists);
    paint_queues(frame, scene, left);
    paint_workers(frame, scene, right);
    paint_tasks(frame, scene, tasks);
    let keys = "q quit   Tab next list   ↑↓ select   p pause or resume queue   c cancel task";
    frame.render_widget(Line::from(keys).style(Style::new().add_modifier(Modifier::DIM)), foot);
}

fn paint_curves(frame: &mut Frame, scene: &Scene, area: Rect) {
    let [stored, begun, failed, now] = Layout::horizontal([Constraint::Fill(1); 4]).areas(area);
    let rate = scene.rate();
    let curves =
        [(stored, "stored", Color::Blue), (begun, "begun", Color::Green), (failed, "failed attempts", Color::Red)];
    for (index, (area, name, colour)) in curves.into_iter().enumerate() {
        let width = usize::from(area.width.saturating_sub(2));
        let points: Vec<u64> =
            scene.rates.iter().rev().take(width).rev().map(|rate| (rate[index] * 10.0) as u64).collect();
        let title = format!(" {name} {:.1}/s ", rate[index]);
        frame
            .render_widget(Sparkline::default().data(points).style(colour).block(Block::bordered().title(title)), area);
    }
    let number = |member: &str| scene.overview[member].as_i64().unwrap_or(0);
    let (running, slots) = (number("Running"), number("Slots"));
    let block = Block::bordered().title(" now ");
    let inside = block.inner(now);
    frame.render_widget(block, now);
    let [bar, rest] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(inside);
    let ratio = if slots > 0 { (running as f64 / slots as f64).clamp(0.0, 1.0) } else { 0.0 };
    let gauge = Gauge::default().ratio(ratio).label(format!("{running} of {slots} slots")).gauge_style(Color::Green);
    frame.render_widget(gauge, bar);
    let oldest = scene.overview["OldestWaitingSeconds"]
        .as_f64()
        .map_or_else(|| "nothing waits".to_owned(), |seconds| format!("oldest waits {}", span(seconds)));
    let lines = [format!("ready {}  held {}  later {}", number("Ready"), number("Held"), number("Scheduled")), oldest];
    frame.render_widget(Paragraph::new(lines.map(Line::from).to_vec()), rest);
}

/// A list's frame; that of the list which keys are for stands out.
fn framed(title: &str, focused: bool) -> Block<'static> {
    let block = Block::bordered().title(format!(" {title} "));
    if focused { block.border_style(Color::Yellow) } else { block }
}

fn heading<const N: usize>(names: [&'static str; N]) -> Row<'static> {
    Row::new(names).style(Style::new().add_modifier(Modifier::BOLD))
}

fn paint_queues(frame: &mut Frame, scene: &mut Scene, area: Rect) {
    let rows = scene.queues.iter().map(|queue| {
        let paused = queue["Paused"] == true;
        let unserved = queue["Workers"] == 0;
        let said = if paused || unserved { state(queue) } else { limits(queue) };
        let row = Row::new([
            text(queue, "Name"),
            text(queue, "Ready"),
            text(queue, "Held"),
            text(queue, "Scheduled"),
            text(queue, "Running"),
            said,
        ]);
        if paused || unserved { row.style(Color::Yellow) } else { row }
    });
    let widths = [
        Constraint::Fill(2),
        Constraint::Length(8),
        Constraint::Length(7),
        Constraint::Length(9),
        Constraint::Length(8),
        Constraint::Fill(2),
    ];
    let table = Table::new(rows, widths)
        .header(heading(["queue", "ready", "held", "later", "running", "limits"]))
        .row_highlight_style(Modifier::REVERSED)
        .block(framed("queues", scene.focus == Focus::Queues));
    frame.render_stateful_widget(table, area, &mut scene.chosen_queue);
}

fn paint_workers(frame: &mut Frame, scene: &Scene, area: Rect) {
    let rows = scene.workers.iter().map(|worker| {
        let state = text(worker, "State");
        let style = match state.as_str() {
            "alive" => Style::new(),
            "silent" => Style::new().fg(Color::Yellow),
            "lost" => Style::new().fg(Color::Red),
            _ => Style::new().add_modifier(Modifier::DIM),
        };
        let busy = format!("{}/{}", text(worker, "Running"), text(worker, "Slots"));
        Row::new([text(worker, "Name"), state, busy]).style(style)
    });
    let table = Table::new(rows, [Constraint::Fill(1), Constraint::Length(8), Constraint::Length(9)])
        .header(heading(["worker", "state", "busy"]))
        .block(framed("workers", false));
    frame.render_widget(table, area);
}

fn paint_tasks(frame: &mut Frame, scene: &mut Scene, area: Rect) {
    let rows = scene.tasks.iter().map(|task| {
        let fraction = task["ProgressInPercent"].as_f64().unwrap_or(0.0).clamp(0.0, 1.0);
        let full = (fraction * BAR as f64).round() as usize;
        let bar = Line::from(vec![
            Span::styled("█".repeat(full), Color::Green),
            Span::styled("░".repeat(BAR - full), Style::new().add_modifier(Modifier::DIM)),
            Span::raw(format!(" {:>3.0} %", fraction * 100.0)),
        ]);
        Row::new([
            Cell::from(text(task, "Id")),
            Cell::from(bar),
            Cell::from(what(task)),
            Cell::from(text(task, "Worker")),
        ])
    });
    let widths = [Constraint::Fill(3), Constraint::Length(27), Constraint::Fill(3), Constraint::Fill(1)];
    let title = format!("running tasks: {}", scene.tasks.len());
    let table = Table::new(rows, widths)
        .header(heading(["task", "progress", "what it does", "worker"]))
        .row_highlight_style(Modifier::REVERSED)
        .block(framed(&title, scene.focus == Focus::Tasks));
    frame.render_stateful_widget(table, area, &mut scene.chosen_task);
}

/// The innermost step or the message, and the time left.
fn what(task: &Value) -> String {
    let step = task["Steps"].as_array().and_then(|steps| steps.last()).map(|step| text(step, "Name"));
    let mut what = step.unwrap_or_else(|| text(task, "Message"));
    if let Some(left) = left(task) {
        what.push_str(&format!(" · {left}"));
    }
    what
}
