//! The keyboard.

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc::{Receiver, channel};

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Quit,
    NextList,
    Up,
    Down,
    /// Pause or resume the queue.
    Pause,
    /// Cancel the task.
    Cancel,
    Yes,
    /// Anything else: also that the terminal has another size.
    Other,
}

/// Keys as they are pressed, on a thread of their own that ends with the process.
pub(super) fn read() -> Receiver<Key> {
    let (give, take) = channel(16);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            let key = match event {
                Event::Key(key) if key.kind == KeyEventKind::Release => continue,
                Event::Key(key) => match key.code {
                    KeyCode::Char('q') | KeyCode::Esc => Key::Quit,
                    // In raw mode Ctrl-C is no signal.
                    KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Key::Quit,
                    KeyCode::Char('c') => Key::Cancel,
                    KeyCode::Char('p') => Key::Pause,
                    KeyCode::Char('y') => Key::Yes,
                    KeyCode::Tab => Key::NextList,
                    KeyCode::Up | KeyCode::Char('k') => Key::Up,
                    KeyCode::Down | KeyCode::Char('j') => Key::Down,
                    _ => Key::Other,
                },
                Event::Resize(..) => Key::Other,
                _ => continue,
            };
            if give.blocking_send(key).is_err() {
                return;
            }
        }
    });
    take
}
