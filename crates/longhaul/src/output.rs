//! The output of commands. The reader of standard output may close it, as `head` does.
//!
//! The macros take the place of the standard library's in this crate: those panic when the
//! other end of a pipe is closed.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

use crate::exit::CLOSED;

macro_rules! print {
    ($($text:tt)*) => { $crate::output::write(::core::format_args!($($text)*)) };
}

macro_rules! println {
    () => { print!("\n") };
    ($($text:tt)*) => { print!("{}\n", ::core::format_args!($($text)*)) };
}

/// Prints a text. Ends the process, without a word, if nobody reads it any more; and with one
/// if it can't be written otherwise.
pub(crate) fn write(text: Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    match out.write_fmt(text).and_then(|()| out.flush()) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(CLOSED.into()),
        Err(error) => {
            eprintln!("standard output can't be written: {error}");
            std::process::exit(1);
        }
    }
}
