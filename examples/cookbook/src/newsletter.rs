//! One mail for each recipient, and one task for all of them.

use std::time::Duration;

use longhaul::schemars::JsonSchema;
use longhaul::serde::{Deserialize, Serialize};
use longhaul::{Outcome, ProblemKind, RunContext, RunError, TaskType};

const BAD_ADDRESS: ProblemKind =
    ProblemKind { code: "bad-address", title: "The address is not one of e-mail", status: 500 };

/// Sends one mail.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(crate = "longhaul::serde", rename_all = "PascalCase", deny_unknown_fields)]
#[schemars(crate = "longhaul::schemars")]
pub(crate) struct SendMail {
    to: String,
    subject: String,
}

impl TaskType for SendMail {
    const NAME: &'static str = "SendMail";
    const ID_PREFIX: &'static str = "sendmail_";
    const QUEUE: &'static str = "mail";
    const TIMEOUT: Option<Duration> = Some(Duration::from_secs(30));

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        if !self.to.contains('@') {
            return Err(RunError::permanent(BAD_ADDRESS, format!("{} is no address.", self.to)));
        }
        // Your mail service sends it here. Give it the task's id as the key of the request: the
        // handler may run twice.
        context.log().info(format_args!("sent “{}” to {} as {}", self.subject, self.to, context.task_id()));
        Ok(Outcome::done())
    }
}

/// Sends a newsletter to everyone, each by a task of its own.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(crate = "longhaul::serde", rename_all = "PascalCase", deny_unknown_fields)]
#[schemars(crate = "longhaul::schemars")]
pub(crate) struct SendNewsletter {
    subject: String,
    recipients: Vec<String>,
}

#[derive(Serialize)]
#[serde(crate = "longhaul::serde", rename_all = "PascalCase")]
struct Sent {
    sent: i32,
    not_sent: i32,
}

impl TaskType for SendNewsletter {
    const NAME: &'static str = "SendNewsletter";
    const ID_PREFIX: &'static str = "sendnewsletter_";

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        if context.checkpoint::<bool>()?.is_none() {
            let mails = self.recipients.iter().map(|to| SendMail { to: to.clone(), subject: self.subject.clone() });
            context.fan_out(mails, &true).await?;
            return Ok(Outcome::AwaitChildren);
        }
        let mails = context.family().await?;
        Outcome::with_result(Sent { sent: mails.succeeded, not_sent: mails.failed + mails.cancelled })
    }
}
