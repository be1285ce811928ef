//! `longhaul top`: what the queue does, live. `scene` is what is read, `paint` how it
//! looks on a terminal, `plain` where there is none.

mod keys;
mod paint;
mod plain;
mod scene;

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use self::keys::Key;
use self::scene::Scene;
use crate::Host;
use crate::remote::{Client, ConnectArgs, Way};

pub(super) const EXAMPLES: &str = "Examples:
  longhaul top
  longhaul top --interval 5 --database-url postgres://longhaul@db/longhaul
  longhaul top --once --json | jq .Overview.Ready

Keys: q quits, Tab goes to the next list, arrows select, p pauses or resumes the selected queue, c cancels the
selected task. Without a terminal it prints a few lines each time.";

/// Shows rates, queues, workers and running tasks, live.
#[derive(Debug, Args)]
pub(crate) struct Top {
    #[command(flatten)]
    connect: ConnectArgs,
    /// The seconds between two updates.
    #[arg(short, long, value_name = "SECONDS", default_value_t = 1.0, value_parser = interval)]
    interval: f64,
    /// Print once and exit.
    #[arg(long)]
    once: bool,
}

fn interval(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.2..=3_600.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number of seconds from 0.2 to 3600 is expected".to_owned()),
    }
}

impl Top {
    pub(crate) async fn run(self, host: Host, way: Way) -> anyhow::Result<()> {
        let client = self.connect.client(way, &host).await?;
        let mut scene = Scene::default();
        // What can't be read at all is an error, what fails later is shown.
        scene.look(&client).await?;
        let every = Duration::from_secs_f64(self.interval);
        let has_terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
        if self.once || self.connect.json || !has_terminal {
            return self.print(&client, scene, every).await;
        }
        let mut terminal = ratatui::init();
        let ended = live(&mut terminal, host.name, &client, scene, every).await;
        ratatui::restore();
        ended
    }

    async fn print(&self, client: &Client, mut scene: Scene, every: Duration) -> anyhow::Result<()> {
        let mut stop = signal(SignalKind::interrupt())?;
        let mut ticks = tokio::time::interval(every);
        ticks.tick().await;
        loop {
            if self.connect.json {
                println!("{}", crate::visible::json_line(&plain::json(&scene)));
            } else {
                print!("{}", plain::text(&scene));
            }
            if self.once {
                return Ok(());
            }
            tokio::select! {
                _ = stop.recv() => return Ok(()),
                _ = ticks.tick() => scene.look(client).await?,
            }
        }
    }
}

async fn live(
    terminal: &mut ratatui::DefaultTerminal,
    program: &str,
    client: &Client,
    mut scene: Scene,
    every: Duration,
) -> anyhow::Result<()> {
    let mut stop = signal(SignalKind::terminate())?;
    let mut keys = keys::read();
    let mut ticks = tokio::time::interval(every);
    loop {
        terminal.draw(|frame| paint::paint(frame, program, &mut scene))?;
        tokio::select! {
            _ = stop.recv() => return Ok(()),
            _ = ticks.tick() => scene.look_again(client).await,
            key = keys.recv() => match key {
                Some(Key::Quit) | None => return Ok(()),
                Some(key) => scene.press(key, client).await,
            },
        }
    }
}
