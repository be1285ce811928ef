//! A program with the whole command line.

use std::ffi::OsString;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;

use clap::builder::{Resettable, StyledStr};
use clap::{ArgMatches, Args, FromArgMatches, Subcommand};
use longhaul_api::Routes;
use longhaul_model::{Registry, Resources};
use longhaul_telemetry::Export;
use sqlx::migrate::Migrator;

use crate::Host;
use crate::command::Standard;
use crate::command::docs::with_pages;
use crate::config::{Configuration, deepest, with_config};
use crate::exit::Exit;
use crate::remote::{Refused, Way};
use crate::secret::SecretArgs;
use crate::visible::visible;

/// A program with the task types of a [`Registry`]. Its commands are `serve` (the HTTP API), `work`
/// (a worker), `dev` (both, on a private PostgreSQL), `migrate`, commands for operators (`task`,
/// `queue`, `schedule`, `worker`, `top`, `doctor`, `config`), and your own. Its `main` function is
/// one expression:
///
/// ```no_run
/// use std::process::ExitCode;
///
/// use longhaul::{Program, Registry};
///
/// fn main() -> ExitCode {
///     Program::new(Registry::new()).main()
/// }
/// ```
pub struct Program {
    name: &'static str,
    about: &'static str,
    version: &'static str,
    registry: Registry,
    resources: Resources,
    routes: Vec<fn(&mut Routes)>,
    migrations: Vec<&'static Migrator>,
    grants: Vec<&'static str>,
    settings: Vec<ProgramSettings>,
    commands: Option<Commands>,
    /// Whether it has the settings of secret keys.
    seals: bool,
    task_log: &'static str,
}

/// Flags that a program adds to every command that hosts task types.
struct ProgramSettings {
    augment: fn(clap::Command) -> clap::Command,
    provide: Box<Provide>,
}

/// Commands that a program adds.
struct Commands {
    augment: fn(clap::Command) -> clap::Command,
    run: Box<Run>,
}

type Provide = dyn FnOnce(&ArgMatches, Resources) -> anyhow::Result<Resources>;
type Run = dyn FnOnce(&ArgMatches, Host) -> anyhow::Result<Running>;
type Running = Pin<Box<dyn Future<Output = anyhow::Result<()>>>>;

impl Program {
    /// Creates a program with these task types and those of every program
    /// ([`queue_task`](crate::queue_task)).
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        let started_as = std::env::args_os().next().unwrap_or_default();
        let name = Path::new(&started_as).file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let seals = registry.iter().any(|entry| entry.has_secrets());
        let program = Self {
            name: name.map_or("longhaul", |name| name.leak()),
            about: "",
            version: env!("CARGO_PKG_VERSION"),
            registry: crate::queue_task::register(registry),
            resources: Resources::new(),
            routes: Vec::new(),
            migrations: Vec::new(),
            grants: vec![longhaul_model::store::roles::QUEUE_GRANTS],
            settings: Vec::new(),
            commands: None,
            seals: false,
            task_log: "",
        };
        if seals { program.with_secret_keys() } else { program }
    }

    /// Adds the settings of the keys that encrypt secrets in the database. They add a
    /// [`Keyring`](crate::Keyring) to the resources. A program has these settings automatically if
    /// one of its task types has secret parameters. Call this, before the settings that need the
    /// keyring, if something else encrypts.
    #[must_use]
    pub fn with_secret_keys(mut self) -> Self {
        if self.seals {
            return self;
        }
        self.seals = true;
        self.with_settings(SecretArgs::provide)
    }

    /// Sets the program's name in its help and in the directory of `dev`'s data. Default: the name
    /// of the executable.
    #[must_use]
    pub fn with_name(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// Sets the one-line description in its help.
    #[must_use]
    pub fn with_about(mut self, about: &'static str) -> Self {
        self.about = about;
        self
    }

    /// Sets the output of `--version`, e.g. `env!("CARGO_PKG_VERSION")`. Default: this library's
    /// version.
    #[must_use]
    pub fn with_version(mut self, version: &'static str) -> Self {
        self.version = version;
        self
    }

    /// Adds a resource that task types need (a client, a configuration), found by its type in
    /// [`RunContext::resources`](crate::RunContext::resources) and
    /// [`CreateContext::resources`](crate::CreateContext).
    #[must_use]
    pub fn with_resource<R: std::any::Any + Send + Sync>(mut self, resource: R) -> Self {
        self.resources = self.resources.with(resource);
        self
    }

    /// Adds your own flags to `serve`, `work` and `dev`. When the program starts, it calls
    /// `provide` with the flags, and `provide` adds to the resources of task types.
    ///
    /// ```
    /// # use longhaul::{Program, Registry, clap};
    /// #[derive(clap::Args)]
    /// #[command(next_help_heading = "Mail")]
    /// struct MailArgs {
    ///     /// Where letters are handed in.
    ///     #[arg(long, env = "SMTP_URL")]
    ///     smtp_url: Option<String>,
    /// }
    /// struct Mail(Option<String>);
    ///
    /// let program = Program::new(Registry::new())
    ///     .with_settings(|mail: MailArgs, resources| Ok(resources.with(Mail(mail.smtp_url))));
    /// ```
    #[must_use]
    pub fn with_settings<A: Args>(
        mut self,
        provide: impl FnOnce(A, Resources) -> anyhow::Result<Resources> + 'static,
    ) -> Self {
        self.settings.push(ProgramSettings {
            augment: A::augment_args,
            provide: Box::new(|matches, resources| provide(A::from_arg_matches(matches)?, resources)),
        });
        self
    }

    /// Adds your own routes to the API; they may take `web::Data<App>`, see [`http`](crate::http).
    #[must_use]
    pub fn with_routes(mut self, routes: fn(&mut Routes)) -> Self {
        self.routes.push(routes);
        self
    }

    /// Adds migrations of your own tables. `migrate` and `dev` apply them after the queue's, and
    /// the API is ready only afterwards. For `sqlx::migrate!("./migrations")` your package must
    /// depend on `sqlx` itself, in the version of [`longhaul::sqlx`](crate::sqlx), because the
    /// macro names that crate.
    #[must_use]
    pub fn with_migrations(mut self, migrations: &'static Migrator) -> Self {
        self.migrations.push(migrations);
        self
    }

    /// Grants the database roles rights on your own tables, with SQL statements such as `GRANT
    /// SELECT ON account TO longhaul_api;`. `migrate` runs them after all migrations, in one
    /// transaction, whenever they or the tables have changed and the roles exist. List all grants,
    /// and first `REVOKE` those that no longer apply.
    #[must_use]
    pub fn with_grants(mut self, grants: &'static str) -> Self {
        self.grants.push(grants);
        self
    }

    /// Adds webhooks: routes that create them, the task type that delivers messages, their tables
    /// (in the schema `records`) and settings, and the settings of the keys that encrypt their
    /// secrets. Requires the feature `webhooks`. See `docs/webhooks.md`.
    #[cfg(feature = "webhooks")]
    #[must_use]
    pub fn with_webhooks(mut self) -> Self {
        self.registry = self.registry.with::<longhaul_webhooks::DeliverWebhook>();
        self.with_secret_keys()
            .with_settings(crate::webhook::WebhookArgs::provide)
            .with_routes(longhaul_webhooks::configure)
            .with_migrations(&longhaul_webhooks::MIGRATIONS)
            .with_grants(longhaul_webhooks::GRANTS)
    }

    /// Copies events that handlers log with the crate `tracing` to the logs of their tasks, if they
    /// pass this filter: usually your own crate at a level, e.g. `my_tasks=info`. Every caller who
    /// may see a task can read its log. Default: no events. The flag `--task-log` overrides the
    /// filter.
    #[must_use]
    pub fn with_task_log(mut self, filter: &'static str) -> Self {
        self.task_log = filter;
        self
    }

    /// Adds your own commands. They have the flags of [`with_settings`](Program::with_settings)
    /// only if they flatten them in. Call [`log_to_stderr`](crate::log_to_stderr) if they log.
    #[must_use]
    pub fn with_commands<C, F>(mut self, run: impl FnOnce(C, Host) -> F + 'static) -> Self
    where
        C: Subcommand + 'static,
        F: Future<Output = anyhow::Result<()>> + 'static,
    {
        self.commands = Some(Commands {
            augment: C::augment_subcommands,
            run: Box::new(|matches, host| Ok(Box::pin(run(C::from_arg_matches(matches)?, host)))),
        });
        self
    }

    /// Returns the program's parts, for your own command line. It does not read the flags of
    /// [`with_settings`](Program::with_settings), so add the resources yourself.
    #[must_use]
    pub fn into_host(self) -> Host {
        let resources = Arc::new(self.resources);
        Host {
            name: self.name,
            registry: self.registry,
            resources,
            routes: self.routes,
            migrations: self.migrations,
            metrics: longhaul_telemetry::Metrics::new(),
            dashboard: true,
            direct: None,
            grants: self.grants,
            supervisor: crate::supervisor::Supervisor::default(),
        }
    }

    /// Runs the command line and returns the process's exit code: 0 on success, 1 on failure, with
    /// a line on standard error, 2 if the command line is wrong. Commands that follow a task have
    /// more exit codes, see `task run --help`.
    #[must_use]
    pub fn main(self) -> ExitCode {
        let name = self.name;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let result = match runtime {
            Ok(runtime) => runtime.block_on(self.run(std::env::args_os())),
            Err(error) => Err(error.into()),
        };
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => match error.downcast_ref::<Exit>() {
                Some(Exit(code)) => ExitCode::from(*code),
                None => {
                    eprintln!("{name}: {}", visible(&format!("{error:#}")));
                    if let Some(code) = error.downcast_ref::<Refused>().and_then(Refused::explained) {
                        eprintln!("  More: {name} docs errors#{code}");
                    }
                    ExitCode::FAILURE
                }
            },
        }
    }

    /// Runs these arguments, the first of which is the program's name. Ends the process if they are
    /// wrong or request help.
    ///
    /// # Errors
    /// If the command failed.
    pub async fn run(mut self, arguments: impl IntoIterator<Item = OsString>) -> anyhow::Result<()> {
        let arguments: Vec<OsString> = arguments.into_iter().collect();
        let configuration = Configuration::of(&self.command_line(), &arguments)?;
        let command_line = configuration.applied_to(self.command_line());
        let matches = command_line.clone().get_matches_from(arguments);
        let Some(name) = matches.subcommand_name() else { unreachable!("clap requires a subcommand") };
        let of_command = deepest(&matches);
        if !Standard::has_subcommand(name) {
            let Some(commands) = self.commands.take() else { unreachable!("clap knows the subcommands") };
            return (commands.run)(&matches, self.into_host())?.await;
        }
        let standard = Standard::from_arg_matches(&matches)?;
        let log = standard.log();
        // What can't set its log runs too short to be worth spans.
        let export = match &log {
            Some(log) => Export::start(self.name, log.traces.clone().settings())?,
            None => None,
        };
        let task_log = standard.task_log(self.task_log);
        log.unwrap_or_default().start(standard.log_filter(), export.as_ref(), task_log);
        match &standard {
            Standard::Config(config) => return config.run(command_line, &configuration),
            Standard::Completions(completions) => return completions.run(command_line),
            Standard::Man(man) => return man.run(command_line),
            _ => {}
        }
        let way = Way::of(of_command);
        if standard.hosts_tasks(way) {
            for settings in std::mem::take(&mut self.settings) {
                self.resources = (settings.provide)(of_command, std::mem::take(&mut self.resources))?;
            }
        }
        let ended = standard.run(self.into_host(), way, &configuration).await;
        if let Some(export) = export {
            export.stop().await;
        }
        ended
    }

    fn command_line(&self) -> clap::Command {
        let mut command = with_config(clap::Command::new(self.name))
            .version(self.version)
            .propagate_version(true)
            .subcommand_required(true)
            .arg_required_else_help(true);
        command = Standard::augment_subcommands(command);
        if let Some(commands) = &self.commands {
            command = (commands.augment)(command);
        }
        for name in Standard::HOSTING.iter().copied() {
            for settings in &self.settings {
                let augment = settings.augment;
                command = command.mut_subcommand(name, |subcommand| augmented(subcommand, augment));
            }
        }
        for (name, below) in Standard::MAY_HOST {
            for settings in &self.settings {
                let augment = settings.augment;
                // Needed only where the command speaks to the database itself.
                let optional = move |subcommand: clap::Command| {
                    let before: Vec<_> = subcommand.get_arguments().map(|argument| argument.get_id().clone()).collect();
                    augmented(subcommand, augment).mut_args(|argument| match before.contains(argument.get_id()) {
                        true => argument,
                        false => argument.required(false).hide_short_help(true),
                    })
                };
                command = command.mut_subcommand(name, |command| command.mut_subcommand(below, optional));
            }
        }
        with_pages(command.about(self.about).long_about(Resettable::Reset), self.name)
    }
}

/// A command with a program's own flags.
fn augmented(command: clap::Command, augment: fn(clap::Command) -> clap::Command) -> clap::Command {
    let (about, long_about) = abouts(&command);
    augment(command).about(about).long_about(long_about)
}

/// A command's own help, which doc comments of groups of flags would replace.
fn abouts(command: &clap::Command) -> (Resettable<StyledStr>, Resettable<StyledStr>) {
    let kept = |about: Option<&StyledStr>| about.cloned().map_or(Resettable::Reset, Resettable::Value);
    (kept(command.get_about()), kept(command.get_long_about()))
}
