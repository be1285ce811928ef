//! A private PostgreSQL to play with: `cargo run -p longhaul-devdb [DIRECTORY] [NAME=VALUE …]`.
//!
//! Prints the server's URL and runs until it is interrupted. With a directory
//! the data is kept there; the rest are settings of PostgreSQL.
//!
//! `cargo run -p longhaul-devdb -- --fetch [MAJOR]` fetches PostgreSQL's programs, if they
//! were not fetched before, and prints their directory.

use longhaul_devdb::{Error, Options, Server};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() {
    if let Err(error) = run().await {
        eprintln!("{error}");
        let mut cause = std::error::Error::source(&error);
        while let Some(source) = cause {
            eprintln!("  because: {source}");
            cause = source.source();
        }
        std::process::exit(1);
    }
}

async fn run() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    if std::env::args().nth(1).is_some_and(|first| first == "--fetch") {
        let major = arguments.nth(1).and_then(|major| major.parse().ok());
        println!("{}", longhaul_devdb::fetch(major).await?.display());
        return Ok(());
    }
    let mut options = Options::temporary();
    for argument in arguments {
        options = match argument.split_once('=') {
            Some((name, value)) => options.setting(name, value),
            None => Options::kept(argument),
        };
    }
    let server = Server::start(options).await?;
    println!("url {}", server.admin_url());
    println!("directory {}", server.directory().display());
    println!("process {}", server.process_id().unwrap_or_default());
    println!("stop it with Ctrl-C");

    let mut terminate = signal(SignalKind::terminate()).ok();
    let terminated = async {
        match &mut terminate {
            Some(signal) => signal.recv().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated => {}
    }
    server.stop().await
}
