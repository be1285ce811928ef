//! A task's progress on a terminal, or in lines where there is none.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use reqwest::Method;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use super::session::Session;
use crate::command::body::{last_line, left, one_line, text};
use crate::exit::{self, DETACHED, Exit, TIMED_OUT};
use crate::remote::{Item, watch};

/// Where there is no terminal, a line comes at most so often while nothing but numbers
/// change.
const LINE_EVERY: Duration = Duration::from_secs(1);
/// Bars are drawn with this many steps: fractions have no elements of their own.
const FINE: u64 = 1_000;

/// Follows tasks, one after the other, until they end or the time is over; ends the
/// process with what the first one that did not succeed says. Ctrl-C asks on a terminal
/// whether to cancel or to leave the task alone, and leaves it alone elsewhere.
pub(super) async fn follow(session: &Session<'_>, ids: &[String], timeout: Option<Duration>) -> anyhow::Result<()> {
    let deadline = timeout.map(|timeout| tokio::time::Instant::now() + timeout);
    let over = async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    };
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::pin!(over);
    let mut ended = Ok(());
    for id in ids {
        let picture = std::sync::Mutex::new(Picture::new(session.json)?);
        let watched = watch(&session.client, id, false, |item| {
            if let (Item::Body(body), Ok(mut picture)) = (item, picture.lock()) {
                picture.show(&body);
            }
        });
        tokio::pin!(watched);
        let body = loop {
            tokio::select! {
                body = &mut watched => break body?,
                () = &mut over => {
                    eprintln!("{id} has not completed yet; it keeps running");
                    return Err(Exit(TIMED_OUT).into());
                }
                _ = terminate.recv() => return Err(detach(session, id)),
                _ = interrupt.recv() => {
                    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
                        return Err(detach(session, id));
                    }
                    if let Ok(picture) = picture.lock() {
                        picture.clear();
                    }
                    eprint!("Cancel the task (c), leave it running (l), or keep watching (k)? ");
                    let _flushed = std::io::stderr().flush();
                    let answer = tokio::select! {
                        answer = read_line() => answer,
                        _ = interrupt.recv() => "l".to_owned(),
                    };
                    match answer.trim() {
                        "c" => {
                            // It may have ended meanwhile: then that is shown.
                            let asked = session.client.send(Method::DELETE, &["api", "backgroundtask", id], None).await;
                            if let Err(error) = asked {
                                eprintln!("{}", crate::visible::visible(&error.to_string()));
                            }
                        }
                        "k" => {}
                        _ => return Err(detach(session, id)),
                    }
                }
            }
        };
        if let Ok(picture) = picture.lock() {
            picture.clear();
        }
        if session.json {
            println!("{}", crate::visible::json_line(&body));
        } else {
            println!("{}", last_line(&body));
        }
        ended = ended.and(exit::of_task(&body));
    }
    ended
}

fn detach(session: &Session<'_>, id: &str) -> anyhow::Error {
    eprintln!("\nThe task keeps running; follow it with: {} task wait {id}", session.program);
    Exit(DETACHED).into()
}

/// A line of standard input. The thread that reads it is left alone if nobody waits for
/// it any more: the process can end without it.
async fn read_line() -> String {
    let (give, take) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let _read = std::io::stdin().read_line(&mut line);
        let _nobody_waits = give.send(line);
    });
    take.await.unwrap_or_default()
}

/// How a task's progress is shown.
enum Picture {
    Bars(Bars),
    Lines { last: Option<(String, Instant)> },
    Nothing,
}

struct Bars {
    all: MultiProgress,
    task: ProgressBar,
    steps: Vec<ProgressBar>,
    step_style: ProgressStyle,
}

impl Picture {
    fn new(json: bool) -> anyhow::Result<Self> {
        if !std::io::stderr().is_terminal() {
            return Ok(if json { Picture::Nothing } else { Picture::Lines { last: None } });
        }
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let task = all.add(ProgressBar::new(FINE));
        task.set_style(ProgressStyle::with_template("{prefix:.bold} [{bar:30.green}] {percent:>3} % {wide_msg}")?);
        let step_style = ProgressStyle::with_template("{prefix:.dim} [{bar:20.cyan}] {percent:>3} % {wide_msg:.dim}")?;
        Ok(Picture::Bars(Bars { all, task, steps: Vec::new(), step_style }))
    }

    fn show(&mut self, body: &Value) {
        match self {
            Picture::Nothing => {}
            Picture::Bars(bars) => bars.show(body),
            Picture::Lines { last } => {
                let steps: Vec<String> =
                    body["Steps"].as_array().into_iter().flatten().map(|step| text(step, "Name")).collect();
                let what = format!("{} {} {}", text(body, "State"), text(body, "Message"), steps.join(" › "));
                let due = last.as_ref().is_none_or(|(before, at)| *before != what || at.elapsed() >= LINE_EVERY);
                if due && body["Complete"] != true {
                    let steps = if steps.is_empty() { String::new() } else { format!(" [{}]", steps.join(" › ")) };
                    println!(
                        "{}{steps}{}",
                        one_line(body),
                        left(body).map(|left| format!(", {left}")).unwrap_or_default()
                    );
                    *last = Some((what, Instant::now()));
                }
            }
        }
    }

    fn clear(&self) {
        if let Picture::Bars(bars) = self {
            let _cleared = bars.all.clear();
        }
    }
}

impl Bars {
    fn show(&mut self, body: &Value) {
        let fraction = |of: &Value, member: &str| (of[member].as_f64().unwrap_or(0.0) * FINE as f64) as u64;
        let mut message = String::new();
        if body["TotalElements"].as_u64().unwrap_or(0) > 0 {
            message.push_str(&format!("{}/{} ", text(body, "ProcessedElements"), text(body, "TotalElements")));
        }
        message.push_str(&text(body, "Message"));
        if let Some(left) = left(body) {
            message.push_str(&format!(" · {left}"));
        }
        self.task.set_prefix(text(body, "State"));
        self.task.set_position(fraction(body, "ProgressInPercent"));
        self.task.set_message(message);
        let steps = body["Steps"].as_array().map(Vec::as_slice).unwrap_or_default();
        for bar in self.steps.drain(steps.len().min(self.steps.len())..) {
            bar.finish_and_clear();
            self.all.remove(&bar);
        }
        for (depth, step) in steps.iter().enumerate() {
            if self.steps.len() <= depth {
                let bar = self.all.add(ProgressBar::new(FINE));
                bar.set_style(self.step_style.clone());
                self.steps.push(bar);
            }
            let bar = &self.steps[depth];
            bar.set_prefix(format!("{}└ {}", "  ".repeat(depth), text(step, "Name")));
            bar.set_position(fraction(step, "Fraction"));
            bar.set_message(match step["TotalElements"].as_u64() {
                Some(total) if total > 0 => format!("{}/{total}", text(step, "ProcessedElements")),
                _ => String::new(),
            });
        }
    }
}
