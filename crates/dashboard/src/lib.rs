//! The dashboard: pages that show the queue and let people steer it.
//!
//! Server-rendered and complete without a script; one script of ours keeps what is
//! shown up to date. No page has an inline script or style (the policy in `respond`
//! forbids them), and everything that a page loads is part of the program (`asset`).

mod asset;
mod chart;
mod filter;
mod format;
mod graph;
mod notice;
mod page;
mod problem;
mod respond;
mod shell;

use longhaul_api::access::permission::{EDIT_QUEUES, EDIT_SCHEDULES, VIEW_DASHBOARD, VIEW_QUEUES, VIEW_SCHEDULES};
use longhaul_api::openapi::text;
use longhaul_api::{Access, Operation, Resource, Routes};

pub use problem::KINDS;

use page::{bulk, overview, queues, schedules, search, task, tasks, workers};

/// Adds the pages to an API, at `/`.
pub fn configure(routes: &mut Routes) {
    routes.show_unknown_as(respond::refusal);
    let view = |id: &str, summary: &str| {
        operation(id, summary, Access::Permission(VIEW_DASHBOARD)).answers_bytes(200, "text/html", "The page.")
    };
    routes.add(Resource::at("/").get(overview::show, view("showOverview", "Overview of the queue.")));
    routes.add(Resource::at("/tasks").get(tasks::show, view("showTasks", "Tasks by filter.")));
    routes.add(
        Resource::at("/tasks/all")
            .get(bulk::ask, view("askAboutTasks", "Asks for confirmation before many tasks are changed.")),
    );
    routes.add(
        Resource::at("/tasks/cancel").post(
            bulk::cancel,
            deed("cancelShownTasks", "Cancels selected tasks, or all that match.", Access::Permission(VIEW_DASHBOARD))
                .stores_tasks(),
        ),
    );
    routes.add(
        Resource::at("/tasks/retry").post(
            bulk::retry,
            deed("retryShownTasks", "Retries selected tasks, or all that match.", Access::Permission(VIEW_DASHBOARD))
                .stores_tasks(),
        ),
    );
    routes.add(
        Resource::at("/tasks/{id}").get(task::show, view("showTask", "One task.").path("id", "Its `Id`.", text())),
    );
    routes.add(Resource::at("/tasks/{id}/cancel").post(
        task::cancel,
        deed("cancelShownTask", "Cancels a task.", Access::Permission(VIEW_DASHBOARD)).path("id", "Its `Id`.", text()),
    ));
    routes.add(Resource::at("/tasks/{id}/retry").post(
        task::retry,
        deed("retryShownTask", "Retries a task.", Access::Permission(VIEW_DASHBOARD)).path("id", "Its `Id`.", text()),
    ));
    routes
        .add(Resource::at("/queues").get(queues::show, view("showQueues", "Queues, pauses and limits.").needs(QUEUES)));
    routes.add(
        Resource::at("/queues/{name}").post(
            queues::change,
            deed(
                "changeShownQueue",
                "Pauses or resumes a queue, or changes its limits.",
                Access::Permission(EDIT_QUEUES),
            )
            .path("name", "Its name.", text()),
        ),
    );
    routes.add(
        Resource::at("/schedules").get(schedules::show, view("showSchedules", "Cron schedules.").needs(SCHEDULES)),
    );
    routes.add(Resource::at("/schedules/{name}").post(
        schedules::change,
        deed("changeShownSchedule", "Pauses or resumes a schedule.", Access::Permission(EDIT_SCHEDULES)).path(
            "name",
            "Its name.",
            text(),
        ),
    ));
    routes.add(Resource::at("/workers").get(workers::show, view("showWorkers", "Worker processes.").needs(QUEUES)));
    routes.add(
        Resource::at("/search").get(
            search::find,
            operation(
                "showSearch",
                "Redirects to a task by its id, or shows queues, types, schedules, workers and tasks that contain a \
                 text.",
                Access::Permission(VIEW_DASHBOARD),
            )
            .answers_bytes(200, "text/html", "The page.")
            .answers_nothing(303, "Redirects to the page.")
            .with_header("Location", "The page."),
        ),
    );
    routes.add(
        Resource::at("/assets/{file}").get(
            asset::serve,
            Operation::new("Dashboard", "getAsset", "Static files of the pages.")
                .needs(Access::Public)
                .without_database()
                .shows_refusals_as(respond::refusal)
                .path("file", "Its name, with a fingerprint.", text())
                .answers_bytes(200, "text/css", "The file; its name changes with it.")
                .answers_bytes(200, "text/javascript", "")
                .answers_bytes(200, "image/svg+xml", "")
                .problem(problem::NO_PAGE),
        ),
    );
}

/// Pages that show what the API shows with a permission of its own.
const QUEUES: Access = Access::Permissions(&[VIEW_DASHBOARD, VIEW_QUEUES]);
const SCHEDULES: Access = Access::Permissions(&[VIEW_DASHBOARD, VIEW_SCHEDULES]);

fn operation(id: &str, summary: &str, access: Access) -> Operation {
    Operation::new("Dashboard", id, summary)
        .needs(access)
        .shows_refusals_as(respond::refusal)
        .problem(problem::NO_PAGE)
        .problem(problem::WRONG_FIELD)
}

/// What a form does, by the same functions as the API; it leads back to a page.
fn deed(id: &str, summary: &str, access: Access) -> Operation {
    operation(id, summary, access)
        .only_from_own_pages()
        .notes_itself()
        .answers_nothing(303, "Done; redirects to the page.")
        .with_header("Location", "The page.")
        .problem(problem::NOT_DONE)
}
