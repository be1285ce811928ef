//! Which addresses may be asked (against server-side request forgery).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Resolves names and lets only public addresses through, unless told
/// otherwise. The connection goes to the very addresses that were checked, so a
/// name can't be given another address in between.
#[derive(Debug, Clone, Copy)]
pub struct GuardedResolver {
    /// Lets loopback, private and link-local addresses through, too.
    pub allow_private: bool,
}

/// A name has no address that this host may talk to.
#[derive(Debug, thiserror::Error)]
#[error("{0} has no public address")]
pub struct NoPublicAddress(String);

/// The name service knows no address of a name, or does not answer.
#[derive(Debug, thiserror::Error)]
#[error("its name can't be resolved ({0})")]
pub struct NameNotResolved(std::io::Error);

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_private = self.allow_private;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0))
                .await
                .map_err(NameNotResolved)?
                .filter(|address| allow_private || is_public(address.ip()))
                .collect();
            if found.is_empty() {
                return Err(NoPublicAddress(name.as_str().to_owned()).into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// An address that this host may talk to, as far as can be told without asking the name
/// service. What is stored and shown is what was checked: the parser's spelling, without
/// spaces around it and with scheme and host in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(Url);

impl Address {
    /// Checks an address as it was entered, and again before it is used: the form, TLS,
    /// and literal IP addresses (which no resolver sees).
    ///
    /// # Errors
    /// Why not, in words for whoever entered it.
    pub fn parse(text: &str, allow_private: bool) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| match text.contains("://") {
            true => format!("The address is not a URL: {error}."),
            false => MUST_BEGIN.to_owned(),
        })?;
        if !["http", "https"].contains(&url.scheme()) {
            return Err(MUST_BEGIN.to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("The address must have no user name and no password.".to_owned());
        }
        if url.fragment().is_some() {
            return Err("The address must have no #.".to_owned());
        }
        check_host(&url, allow_private)?;
        Ok(Self(url))
    }

    /// The address as a text, without the slash of an empty path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let text = self.0.as_str();
        if self.0.path() == "/" { text.strip_suffix('/').unwrap_or(text) } else { text }
    }

    /// The parsed address.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// The parsed address.
    #[must_use]
    pub fn into_url(self) -> Url {
        self.0
    }
}

const MUST_BEGIN: &str = "The address must begin with https://.";

/// Checks for TLS and a literal IP address.
fn check_host(url: &Url, allow_private: bool) -> Result<(), String> {
    if allow_private {
        return Ok(());
    }
    if url.scheme() != "https" {
        return Err("The address must begin with https://, so that the data stay secret.".to_owned());
    }
    // The URL parser has already made one form of 127.1, 0x7f000001 and the like.
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(ip) if !is_public(ip) => {
            Err(format!("{ip} is not a public address, and private addresses are not allowed here."))
        }
        _ => Ok(()),
    }
}

/// Whether an address is one that anybody on the internet reaches, by IANA's
/// special-purpose registries (RFC 6890 and its updates).
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    !(ip.is_loopback()
        || ip.is_private()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_documentation()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (18..20).contains(&b)))
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let parts = ip.segments();
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match parts {
        // IPv4-mapped, NAT64 (well-known prefix), 6to4: as the address within.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x2002, high, low, ..] => embedded(high, low),
        // Teredo and other protocol assignments, documentation.
        [0x2001, second, ..] if second < 0x200 || second == 0xdb8 => false,
        [0x3fff, second, ..] if second < 0x1000 => false,
        // Only 2000::/3 is global unicast (RFC 4291, 2.4 and IANA).
        [first, ..] => (0x2000..0x4000).contains(&first),
    }
}

#[cfg(test)]
mod tests {
    use super::{Address, is_public};

    #[test]
    fn addresses_that_not_everybody_reaches_are_not_public() {
        for ip in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "198.18.0.1",
            "192.0.2.1",
            "192.0.0.8",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:db8::1",
            "2001::1",
            "::127.0.0.1",
        ] {
            assert!(!is_public(ip.parse().expect("an address")), "{ip}");
        }
        for ip in ["93.184.216.34", "8.8.8.8", "172.32.0.1", "2606:2800:220:1::1", "::ffff:8.8.8.8", "2002:808:808::"] {
            assert!(is_public(ip.parse().expect("an address")), "{ip}");
        }
    }

    #[test]
    fn odd_ways_to_write_a_private_address_are_seen_through() {
        for url in [
            "https://127.1/",
            "https://0x7f000001/",
            "https://2130706433/",
            "https://[::ffff:7f00:1]/",
            "https://10.0.0.1:3000/x",
        ] {
            assert!(Address::parse(url, false).is_err(), "{url}");
            assert!(Address::parse(url, true).is_ok(), "{url}");
        }
    }

    #[test]
    fn an_address_is_https_without_credentials_or_fragment() {
        for url in
            ["ftp://h/", "h", "tracker.example/jira", "localhost:80", "https://u:p@h/", "https://h/#a", "https://"]
        {
            assert!(Address::parse(url, true).is_err(), "{url}");
        }
        assert!(Address::parse("http://tracker.example/", false).is_err());
        assert!(Address::parse("https://tracker.example/jira", false).is_ok());
    }

    #[test]
    fn an_address_is_stored_as_it_was_parsed() {
        for (entered, stored) in [
            (" HTTPS://Tracker.Example ", "https://tracker.example"),
            ("https://tracker.example/", "https://tracker.example"),
            ("\thttps://tracker.example/jira/\r\n", "https://tracker.example/jira/"),
            ("https:\\\\tracker.example\\jira", "https://tracker.example/jira"),
            ("https://tracker.example/a b?c=d e", "https://tracker.example/a%20b?c=d%20e"),
            ("https://bücher.example:443", "https://xn--bcher-kva.example"),
            ("https://h/?", "https://h/?"),
        ] {
            let address = Address::parse(entered, false).expect(entered);
            assert_eq!(address.as_str(), stored, "{entered}");
            assert_eq!(Address::parse(stored, false).as_ref(), Ok(&address), "{entered}");
        }
    }
}
