//! Events of handlers with the crate `tracing`, in the log of their task.

use std::fmt::{self, Debug, Display, Formatter};

use longhaul_model::{CurrentTask, LogLevel};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// A layer for `tracing-subscriber`: events of the levels info, warn and error that a handler logs
/// become lines of its task's log, within the limits of that log. It ignores other events. Every
/// caller who may see the task can read them, so use a filter, e.g. an `EnvFilter` that names your
/// own crate. The commands of [`Program`](crate::Program) do so with `--task-log` and
/// [`Program::with_task_log`](crate::Program::with_task_log).
#[derive(Debug, Clone, Copy, Default)]
pub struct TaskLog;

impl<S: Subscriber> Layer<S> for TaskLog {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let level = match *event.metadata().level() {
            Level::ERROR => LogLevel::Error,
            Level::WARN => LogLevel::Warn,
            Level::INFO => LogLevel::Info,
            _ => return,
        };
        CurrentTask::with(|task| task.log().write(level, Words(event)));
    }
}

/// An event as a line: what it says, and then its fields.
struct Words<'a>(&'a Event<'a>);

impl Display for Words<'_> {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        let mut writer = Writer { to, written: Ok(()), begun: false };
        self.0.record(&mut writer);
        writer.written
    }
}

struct Writer<'a, 'b> {
    to: &'a mut Formatter<'b>,
    written: fmt::Result,
    begun: bool,
}

impl Writer<'_, '_> {
    fn put(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        if self.written.is_err() {
            return;
        }
        let gap = if std::mem::replace(&mut self.begun, true) { " " } else { "" };
        self.written = match field.name() {
            "message" => write!(self.to, "{gap}{value}"),
            name => write!(self.to, "{gap}{name}={value}"),
        };
    }
}

impl Visit for Writer<'_, '_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, format_args!("{value:?}"));
    }
}
