//! Options of the sockets under database connections, which sqlx does not give out.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

#[cfg(target_os = "linux")]
pub(crate) use linux::tune;

/// The ports of the database servers that pools of this process lead to.
static SERVERS: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// Connections to this port are to a database from here on.
pub(crate) fn lead_to(port: u16) {
    SERVERS.lock().unwrap_or_else(PoisonError::into_inner).insert(port);
}

/// Elsewhere the system's own settings stay.
///
/// # Errors
/// None.
#[cfg(not(target_os = "linux"))]
pub(crate) fn tune() -> std::io::Result<()> {
    Ok(())
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::net::SocketAddr;
    use std::os::fd::OwnedFd;
    use std::sync::PoisonError;
    use std::time::Duration;

    use rustix::net::{SocketAddrAny, SocketType, getpeername, sockopt};
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

    /// A connection that rests is probed after this time …
    const IDLE: Duration = Duration::from_secs(10);
    /// … and then this often, this many times, before it is given up.
    const INTERVAL: Duration = Duration::from_secs(5);
    const PROBES: u32 = 3;
    /// A connection whose data is not acknowledged within this time is given up (tcp(7),
    /// TCP_USER_TIMEOUT), in milliseconds.
    const UNACKNOWLEDGED_MS: u32 = 20_000;

    /// Sets the options of every TCP connection of this process to a port that [`super::lead_to`]
    /// knows. sqlx keeps its sockets to itself, so they are found among the process's
    /// descriptors; a descriptor that the kernel duplicates for us shares its options with the
    /// original. Other sockets keep their settings: a client of the API that reads a stream
    /// slowly leaves data unacknowledged for as long as it likes.
    ///
    /// # Errors
    /// If the system does not allow it (Linux before 5.6, or a sandbox).
    pub(crate) fn tune() -> io::Result<()> {
        let own = pidfd_open(getpid(), PidfdFlags::empty())?;
        for entry in std::fs::read_dir("/proc/self/fd")? {
            let name = entry?.file_name();
            let Some(number) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            // Closed meanwhile, or not allowed.
            let Ok(socket) = pidfd_getfd(&own, number, PidfdGetfdFlags::empty()) else { continue };
            let Ok(Some(peer)) = getpeername(&socket) else { continue };
            if leads_to_database(peer) && sockopt::socket_type(&socket) == Ok(SocketType::STREAM) {
                set(&socket)?;
            }
        }
        Ok(())
    }

    fn leads_to_database(peer: SocketAddrAny) -> bool {
        let servers = super::SERVERS.lock().unwrap_or_else(PoisonError::into_inner);
        SocketAddr::try_from(peer).is_ok_and(|peer| servers.contains(&peer.port()))
    }

    fn set(socket: &OwnedFd) -> io::Result<()> {
        sockopt::set_tcp_nodelay(socket, true)?;
        sockopt::set_socket_keepalive(socket, true)?;
        sockopt::set_tcp_keepidle(socket, IDLE)?;
        sockopt::set_tcp_keepintvl(socket, INTERVAL)?;
        sockopt::set_tcp_keepcnt(socket, PROBES)?;
        sockopt::set_tcp_user_timeout(socket, UNACKNOWLEDGED_MS)?;
        Ok(())
    }
}
