//! What clients asked for against the tasks that there are.

use super::{Index, Kind, Violation};
use crate::history::{Answer, History, Request};

pub(super) fn check(history: &History, index: &Index<'_>, found: &mut Vec<Violation>) {
    for (token, tasks) in index.by_token.iter().filter(|(_, tasks)| tasks.len() > 1) {
        let says = format!("one request is {} tasks", tasks.len());
        found.push(Violation::of_request(Kind::TwoTasks, token, says));
    }
    for request in &history.requests {
        for answer in &request.answers {
            if let Answer::Accepted(ids) = answer {
                accepted(request, ids, index, found);
            }
        }
        let stored = request.tokens.iter().filter(|token| index.by_token.contains_key(token.as_str())).count();
        if stored > 0 && stored < request.tokens.len() {
            let says = format!("{stored} of {} tasks of one request are there", request.tokens.len());
            found.push(Violation::of_request(Kind::Torn, &request.tokens[0], says));
        }
        if stored > 0 && request.answers.iter().all(|answer| *answer == Answer::Refused) {
            let says = "it was refused, and is there";
            found.push(Violation::of_request(Kind::Unasked, &request.tokens[0], says));
        }
    }
}

fn accepted(request: &Request, ids: &[longhaul::uuid::Uuid], index: &Index<'_>, found: &mut Vec<Violation>) {
    for (number, id) in ids.iter().enumerate() {
        let Some(task) = index.tasks.get(id) else {
            found.push(Violation::of_task(Kind::Lost, *id, "it was accepted and is not there"));
            continue;
        };
        // Ids beyond the tokens are those of a batch's parent and of what follows it.
        let Some(token) = request.tokens.get(number) else { continue };
        let own = task.token.as_ref() == Some(token);
        let same = request.unique_key.is_some() && task.key == request.unique_key;
        if !own && !same {
            let says = format!("it is the answer to {token}, and another request's task");
            found.push(Violation::of_task(Kind::Unasked, *id, says));
        }
    }
}
