//! The log of the process, on standard error.

use std::fmt;
use std::io::IsTerminal;

use clap::{Args, ValueEnum};
use longhaul_model::{CurrentTask, TraceContext};
use longhaul_telemetry::Export;
use serde_json::json;
use tracing::{Event, Subscriber};
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::{Format, JsonFields, Writer, debug_fn};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::task_log::TaskLog;
use crate::traces::TraceArgs;
use crate::visible::visible;

/// What is logged, and how it looks; where spans go.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct LogArgs {
    /// Log filter, e.g. info,longhaul_worker=debug.
    #[arg(long, env = "LONGHAUL_LOG", value_name = "FILTER", value_parser = filter)]
    log_filter: Option<String>,
    /// Log format: text, or json for log collectors.
    #[arg(long, env = "LONGHAUL_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// Log every request with its status and duration.
    #[arg(long, env = "LONGHAUL_ACCESS_LOG")]
    access_log: bool,
    #[command(flatten)]
    pub(crate) traces: TraceArgs,
}

/// Checks a filter of events.
pub(crate) fn filter(text: &str) -> Result<String, String> {
    match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("levels and targets such as info,my_crate=debug are expected: {error}")),
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    #[default]
    Text,
    Json,
}

/// What requests are logged under; see the API crate.
const ACCESS: &str = "longhaul_api::access";

impl LogArgs {
    /// From here on the process logs what `LONGHAUL_LOG` says, else `default_filter`;
    /// spans go where `export` sends them, and what handlers log into their tasks' logs as
    /// far as `task_log` lets it through. The first call counts.
    pub(crate) fn start(&self, default_filter: &str, export: Option<&Export>, task_log: Option<&str>) {
        let asked = self.log_filter.clone().or_else(|| std::env::var("LONGHAUL_LOG").ok());
        let mut filter = asked.filter(|filter| !filter.is_empty()).unwrap_or_else(|| default_filter.to_owned());
        if !filter.contains(ACCESS) {
            filter.push_str(&format!(",{ACCESS}={}", if self.access_log { "info" } else { "off" }));
        }
        let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new(default_filter));
        // Colours are for people: a file or a collector is sent none. See no-color.org, too.
        let coloured = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
        let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(coloured);
        let lines = match self.log_format {
            LogFormat::Text => {
                lines.fmt_fields(fields()).event_format(WithTask { format: Format::default(), json: false }).boxed()
            }
            LogFormat::Json => {
                let format = Format::default().json().with_current_span(false).with_span_list(false);
                lines.fmt_fields(JsonFields::new()).event_format(WithTask { format, json: true }).boxed()
            }
        };
        let spans = export.map(|export| {
            let ours = tracing_subscriber::filter::filter_fn(|metadata| {
                metadata.is_span() && *metadata.level() <= tracing::Level::INFO
            });
            tracing_opentelemetry::layer().with_tracer(export.tracer()).with_filter(ours)
        });
        let into_tasks = task_log
            .filter(|filter| !filter.is_empty())
            .and_then(|filter| EnvFilter::try_new(filter).ok())
            .map(|filter| TaskLog.with_filter(filter));
        let all = tracing_subscriber::registry().with(lines.with_filter(filter)).with(spans).with(into_tasks);
        let _set_before = all.try_init();
    }
}

/// What an event says, with its fields, as a terminal may be shown it: errors and messages
/// repeat what others wrote.
fn fields() -> impl for<'writer> FormatFields<'writer> + Send + Sync + 'static {
    debug_fn(|to, field, value| {
        let value = format!("{value:?}");
        match field.name() {
            "message" => write!(to, "{}", visible(&value)),
            name => {
                let (dim, plain) = if to.has_ansi_escapes() { ("\u{1b}[2m", "\u{1b}[0m") } else { ("", "") };
                let name = name.strip_prefix("r#").unwrap_or(name);
                write!(to, "{name}{dim}={plain}{}", visible(&value))
            }
        }
    })
    .delimited(" ")
}

/// Lets what the program logs go to standard error: what `LONGHAUL_LOG` says, else
/// `default_filter`, e.g. `info,sqlx=error`. The first call counts.
pub fn log_to_stderr(default_filter: &str) {
    LogArgs::default().start(default_filter, None, None);
}

/// A format, and at the end of each line the task that the code works for and the
/// trace that it belongs to. They are looked up when something is logged, so that a
/// task that logs nothing costs nothing.
struct WithTask<F> {
    format: F,
    json: bool,
}

impl<S, N, F> FormatEvent<S, N> for WithTask<F>
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    N: for<'writer> FormatFields<'writer> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let task = CurrentTask::with(|task| {
            json!({
                "id": task.attempt.public_id(),
                "type": task.type_name,
                "queue": task.queue,
                "attempt": task.attempt.number(),
            })
        });
        let trace_id = TraceContext::current().map(|trace| trace.trace_id());
        if task.is_none() && trace_id.is_none() {
            return self.format.format_event(context, to, event);
        }
        let mut line = String::new();
        self.format.format_event(context, Writer::new(&mut line), event)?;
        let line = line.trim_end();
        if self.json {
            to.write_str(line.strip_suffix('}').unwrap_or(line))?;
            if let Some(task) = task {
                write!(to, ",\"task\":{task}")?;
            }
            if let Some(trace_id) = trace_id {
                write!(to, ",\"trace_id\":\"{trace_id}\"")?;
            }
            return to.write_str("}\n");
        }
        to.write_str(line)?;
        if let Some(task) = task {
            let [id, name, queue, attempt] = ["id", "type", "queue", "attempt"].map(|member| &task[member]);
            write!(to, " task.id={id} task.type={name} task.queue={queue} task.attempt={attempt}")?;
        }
        if let Some(trace_id) = trace_id {
            write!(to, " trace_id={trace_id}")?;
        }
        writeln!(to)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Result, Write};
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;

    use super::fields;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> Result<usize> {
            self.0.lock().expect("not poisoned").write(bytes)
        }

        fn flush(&mut self) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_others_wrote_steers_no_terminal() {
        let written = Written::default();
        let to = written.clone();
        let lines =
            tracing_subscriber::fmt::layer().with_ansi(false).fmt_fields(fields()).with_writer(move || to.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            let evil = "\u{1b}[2J\u{9b}1m\u{202e}\r";
            let error: &dyn std::error::Error = &std::io::Error::other(evil);
            tracing::error!(error, shown = %evil, text = evil, debug = ?evil, "it said {evil}");
        });
        let text = String::from_utf8(written.0.lock().expect("not poisoned").clone()).expect("UTF-8");
        assert!(text.contains("it said") && text.contains("shown=") && text.contains("error="), "{text}");
        assert!(!text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{text:?}");
    }
}
