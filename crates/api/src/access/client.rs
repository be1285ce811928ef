//! Where a request comes from.

use std::net::IpAddr;

use actix_web::HttpRequest;
use ipnet::IpNet;

/// The address of the client that sent a request. Behind proxies that are trusted it
/// is what they say in `X-Forwarded-For`: the last address there that is none of
/// theirs. What others say there is not believed. `None` for what did not come over
/// TCP.
#[must_use]
pub fn client_address(request: &HttpRequest, trusted: &[IpNet]) -> Option<IpAddr> {
    let is_trusted = |address: IpAddr| trusted.iter().any(|net| net.contains(&address));
    let mut client = request.peer_addr()?.ip().to_canonical();
    let said = request.headers().get_all("x-forwarded-for").filter_map(|value| value.to_str().ok());
    let mut said: Vec<&str> = said.flat_map(|value| value.split(',')).map(str::trim).collect();
    while is_trusted(client)
        && let Some(before) = said.pop().and_then(address)
    {
        client = before;
    }
    Some(client)
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1` or `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let socket = || text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip());
    text.parse::<IpAddr>().ok().or_else(socket).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::client_address;
    use actix_web::test::TestRequest;

    fn client(peer: &str, said: &[&str], trusted: &[&str]) -> String {
        let request = TestRequest::default().peer_addr(format!("{peer}:1").parse().expect("an address"));
        let request = said.iter().fold(request, |request, value| request.append_header(("x-forwarded-for", *value)));
        let trusted: Vec<_> = trusted.iter().map(|net| net.parse().expect("a network")).collect();
        client_address(&request.to_http_request(), &trusted).expect("an address").to_string()
    }

    #[test]
    fn only_proxies_that_are_trusted_are_believed() {
        assert_eq!(client("192.0.2.1", &["203.0.113.9"], &[]), "192.0.2.1");
        assert_eq!(client("192.0.2.1", &["203.0.113.9"], &["192.0.2.1/32"]), "203.0.113.9");
        assert_eq!(client("192.0.2.1", &[], &["192.0.2.0/24"]), "192.0.2.1");
    }

    #[test]
    fn what_a_client_claims_itself_is_left_of_what_proxies_say() {
        let trusted = ["192.0.2.0/24"];
        assert_eq!(client("192.0.2.1", &["10.0.0.1, 203.0.113.9"], &trusted), "203.0.113.9");
        assert_eq!(client("192.0.2.1", &["10.0.0.1, 203.0.113.9, 192.0.2.7"], &trusted), "203.0.113.9");
        assert_eq!(client("192.0.2.1", &["10.0.0.1", "203.0.113.9"], &trusted), "203.0.113.9");
        assert_eq!(client("192.0.2.1", &["10.0.0.1, nonsense"], &trusted), "192.0.2.1");
        assert_eq!(client("[::ffff:192.0.2.1]", &["[2001:db8::1]:443"], &trusted), "2001:db8::1");
    }
}
