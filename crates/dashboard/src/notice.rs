//! News that a form leaves behind: the next page says them once. They travel in a cookie,
//! which that page takes away; in the address they would be said again at every reload.

use actix_web::HttpRequest;
use actix_web::http::header::COOKIE;

use crate::format::number;

const COOKIE_NAME: &str = "longhaul-notice";

/// What a form did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notice {
    Cancelled,
    Cancelling,
    Retried,
    /// So many of those that were chosen.
    ManyCancelled(usize),
    ManyRetried(usize),
    NoneChosen,
    QueueChanged,
    ScheduleChanged,
}

const PLAIN: [(Notice, &str); 6] = [
    (Notice::Cancelled, "cancelled"),
    (Notice::Cancelling, "cancelling"),
    (Notice::Retried, "retried"),
    (Notice::NoneChosen, "none-chosen"),
    (Notice::QueueChanged, "queue-changed"),
    (Notice::ScheduleChanged, "schedule-changed"),
];

impl Notice {
    /// The news that a request brings along, if a person loads the page: the script that
    /// keeps pages up to date leaves them to that.
    pub(crate) fn of(request: &HttpRequest) -> Option<Self> {
        let mode = request.headers().get("sec-fetch-mode").and_then(|mode| mode.to_str().ok());
        if mode.is_some_and(|mode| mode != "navigate") {
            return None;
        }
        let cookies = request.headers().get_all(COOKIE).filter_map(|cookies| cookies.to_str().ok());
        cookies
            .flat_map(|cookies| cookies.split(';'))
            .filter_map(|cookie| cookie.trim().split_once('='))
            .find(|(name, _)| *name == COOKIE_NAME)
            .and_then(|(_, value)| Self::read(value))
    }

    fn read(value: &str) -> Option<Self> {
        if let Some((notice, _)) = PLAIN.iter().find(|(_, name)| *name == value) {
            return Some(*notice);
        }
        let (name, tasks) = value.split_once('.')?;
        let tasks = tasks.parse().ok()?;
        match name {
            "many-cancelled" => Some(Self::ManyCancelled(tasks)),
            "many-retried" => Some(Self::ManyRetried(tasks)),
            _ => None,
        }
    }

    /// The cookie that brings it to the next page.
    pub(crate) fn cookie(self) -> String {
        let value = match self {
            Self::ManyCancelled(tasks) => format!("many-cancelled.{tasks}"),
            Self::ManyRetried(tasks) => format!("many-retried.{tasks}"),
            plain => PLAIN.iter().find(|(known, _)| *known == plain).map_or("", |(_, name)| name).to_owned(),
        };
        format!("{COOKIE_NAME}={value}; Path=/; Max-Age=60; HttpOnly; SameSite=Strict")
    }

    /// The cookie that takes it away.
    pub(crate) fn removal() -> String {
        format!("{COOKIE_NAME}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict")
    }

    /// Whether what was asked for was done.
    pub(crate) fn is_good(self) -> bool {
        !matches!(self, Self::NoneChosen | Self::ManyCancelled(0) | Self::ManyRetried(0))
    }

    pub(crate) fn words(self) -> String {
        let count = |tasks: usize| {
            let tasks = i64::try_from(tasks).unwrap_or(i64::MAX);
            if tasks == 1 { "1 task is".to_owned() } else { format!("{} tasks are", number(tasks)) }
        };
        match self {
            Self::Cancelled => "The task has been cancelled.".to_owned(),
            Self::Cancelling => "Its worker has been asked to stop it.".to_owned(),
            Self::Retried => "The task is queued again, from its last checkpoint.".to_owned(),
            Self::ManyCancelled(0) => {
                "None of the selected tasks was cancelled, because they have completed.".to_owned()
            }
            Self::ManyCancelled(tasks) => {
                format!("{} cancelled; the workers of running tasks have been asked to stop them.", count(tasks))
            }
            Self::ManyRetried(0) => {
                "None of the selected tasks was retried: only failed or cancelled tasks can be.".to_owned()
            }
            Self::ManyRetried(tasks) => format!("{} queued again.", count(tasks)),
            Self::NoneChosen => "No task is selected. Select some tasks first.".to_owned(),
            Self::QueueChanged => "The queue's settings have been changed and apply on every worker.".to_owned(),
            Self::ScheduleChanged => "The schedule has been changed.".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::{Notice, PLAIN};

    #[test]
    fn what_a_form_leaves_is_read_by_the_page_that_a_person_loads() {
        let all = PLAIN.iter().map(|(notice, _)| *notice).chain([Notice::ManyCancelled(3), Notice::ManyRetried(0)]);
        for notice in all {
            let cookie = notice.cookie();
            let sent = format!("longhaul=x; {}", cookie.split(';').next().unwrap_or_default());
            let request = |mode: &str| {
                TestRequest::default()
                    .insert_header(("cookie", sent.clone()))
                    .insert_header(("sec-fetch-mode", mode.to_owned()))
                    .to_http_request()
            };
            assert_eq!(Notice::of(&request("navigate")), Some(notice), "{cookie}");
            assert_eq!(Notice::of(&request("cors")), None);
        }
        assert_eq!(Notice::read("many-cancelled.x"), None);
        assert_eq!(Notice::read(""), None);
    }
}
