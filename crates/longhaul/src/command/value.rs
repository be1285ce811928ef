//! Values of flags that are more than a text. What is wrong with one is a wrong command line.

use longhaul_model::chrono::DateTime;
use longhaul_model::{State, beyond_64_bits};
use serde_json::Value;

/// States, separated by commas.
pub(super) fn states(text: &str) -> Result<String, String> {
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        part.parse::<State>().map_err(|error| error.to_string())?;
    }
    Ok(text.to_owned())
}

/// A time as in RFC 3339.
pub(super) fn time(text: &str) -> Result<String, String> {
    match DateTime::parse_from_rfc3339(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("a time such as 2031-05-04T09:30:00Z is expected ({error})")),
    }
}

/// So many seconds.
pub(super) fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=1e9).contains(&seconds) => Ok(seconds),
        _ => Err("a number of seconds is expected".to_owned()),
    }
}

/// `NAME=VALUE` or `NAME:=JSON`.
pub(super) fn pair(text: &str) -> Result<String, String> {
    let (name, value) = text.split_once('=').ok_or("it is not NAME=VALUE")?;
    if let Some(name) = name.strip_suffix(':') {
        json(value).map_err(|why| format!("'{value}' of {name} is {why}; use NAME=VALUE for a string"))?;
    }
    Ok(text.to_owned())
}

/// A text as JSON, if all of it is kept as it is written.
pub(super) fn json(text: &str) -> Result<Value, String> {
    let value = serde_json::from_str(text).map_err(|error| format!("not JSON ({error})"))?;
    match beyond_64_bits(text) {
        None => Ok(value),
        Some(number) => Err(format!("the number {number}, which has more than 64 bits and would be rounded")),
    }
}

/// How many tasks begin in how many seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Rate {
    Unlimited,
    Of(u32, f64),
}

/// `100/60`, or `none`.
pub(super) fn rate(text: &str) -> Result<Rate, String> {
    if text == "none" {
        return Ok(Rate::Unlimited);
    }
    let read = || {
        let (count, seconds) = text.split_once('/')?;
        Some(Rate::Of(count.trim().parse().ok()?, seconds.trim().parse().ok()?))
    };
    read().ok_or_else(|| "N/S, e.g. 100/60 for 100 tasks every 60 seconds, or `none`, is expected".to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Rate, pair, rate, states, time};

    #[test]
    fn values_are_read_or_told() {
        assert_eq!(states("Running, Retrying").as_deref(), Ok("Running, Retrying"));
        assert!(states("failed").expect_err("a word of its own").contains("Failed"));
        assert!(time("2031-05-04T09:30:00+01:00").is_ok() && time("tomorrow").is_err());
        assert_eq!((rate("100/60"), rate("none")), (Ok(Rate::Of(100, 60.0)), Ok(Rate::Unlimited)));
        assert!(rate("fast").is_err() && rate("1/").is_err());
        assert!(pair("Key=a=b").is_ok() && pair("Keys:=[\"a\"]").is_ok());
        for wrong in ["Optimize", "Keys:=[", "Number:=99999999999999999999"] {
            assert!(pair(wrong).is_err(), "{wrong}");
        }
    }
}
