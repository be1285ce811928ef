//! Options of the sockets under database connections, which sqlx does not give out.

#[cfg(target_os = "linux")]
pub(crate) use linux::tune;

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
    use std::os::fd::OwnedFd;
    use std::time::Duration;

    use rustix::net::{SocketAddrAny, getpeername, sockopt};
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

    /// A connection that rests is probed after this time …
    const IDLE: Duration = Duration::from_secs(10);
    /// … and then this often, this many times, before it is given up.
    const INTERVAL: Duration = Duration::from_secs(5);
    const PROBES: u32 = 3;
    /// A connection whose data is not acknowledged within this time is given up (tcp(7),
    /// TCP_USER_TIMEOUT), in milliseconds.
    const UNACKNOWLEDGED_MS: u32 = 20_000;

    /// Sets the options of every TCP connection that this process has made. sqlx keeps its
    /// sockets to itself, so they are found among the process's descriptors; a descriptor that
    /// the kernel duplicates for us shares its options with the original. Sockets of others
    /// than the database profit from the same settings: small writes are sent at once
    /// (TCP_NODELAY), and a peer that vanished is noticed.
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
            if is_tcp(&peer) && sockopt::socket_type(&socket) == Ok(rustix::net::SocketType::STREAM) {
                set(&socket)?;
            }
        }
        Ok(())
    }

    fn is_tcp(peer: &SocketAddrAny) -> bool {
        matches!(peer.address_family(), rustix::net::AddressFamily::INET | rustix::net::AddressFamily::INET6)
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
