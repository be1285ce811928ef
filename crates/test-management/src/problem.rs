//! The problems that the shipped task types make.

use longhaul_model::ProblemKind;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = ($code:literal, $status:literal, $title:literal);)*) => {
        $($(#[$doc])* pub(crate) const $name: ProblemKind =
            ProblemKind { code: $code, title: $title, status: $status };)*

        /// The shipped task types' error codes; `docs/errors.md` has the same
        /// table. What a task's `create` step finds impossible is a 500 (the
        /// seed); asked for by its address, the same thing is a 404.
        pub const KINDS: &[ProblemKind] = &[$($name),*];
    };
}

kinds! {
    /// Not in the database.
    UNKNOWN_PROJECT = ("unknown-project", 500, "There is no such project");
    /// A project with that guid is there already.
    PROJECT_EXISTS = ("project-exists", 500, "The project already exists");
    /// A search needs an index, and none has been built.
    NOT_INDEXED = ("not-indexed", 500, "There is no search index yet");
    /// Not in the database.
    UNKNOWN_SCRIPT_ASSIGNMENT = ("unknown-script-assignment", 404, "There is no such script assignment");
    /// Not in the database.
    UNKNOWN_STEP_RESULT = ("unknown-step-result", 500, "There is no such step result");
    /// Not in the database.
    UNKNOWN_AGILE_RUN = ("unknown-agile-run", 500, "There is no such agile run");
    /// Not in the database, or of another run.
    UNKNOWN_AGILE_RUN_STEP = ("unknown-agile-run-step", 500, "The agile run has no such step");
    /// Not in the database.
    UNKNOWN_AUTOMATED_TEST_RUN = ("unknown-automated-test-run", 500, "There is no such automated test run");
    /// Not in the database, or of another run.
    UNKNOWN_RESULT_NODE = ("unknown-result-node", 500, "The automated test run has no such result node");
    /// Not in the database.
    UNKNOWN_EXTERNAL_SYSTEM = ("unknown-external-system", 404, "There is no such external system");
    /// Not in the database, or of another project.
    UNKNOWN_EXTERNAL_SYSTEM_LINK = ("unknown-external-system-link", 500, "There is no such external system link");
    /// Not in the database.
    UNKNOWN_INCIDENT = ("unknown-incident", 404, "There is no such incident");
    /// Not in the database.
    UNKNOWN_INCIDENT_LINK = ("unknown-incident-link", 404, "There is no such incident link");
    /// Not in the database.
    UNKNOWN_UPLOAD = ("unknown-upload", 500, "There is no such upload");
    TOO_MANY_UPLOADS = ("too-many-uploads", 409, "Too many uploads");
    /// No tracker of the project has it.
    TICKET_NOT_FOUND = ("ticket-not-found", 500, "The ticket was not found");
    /// Several trackers of the project have it.
    AMBIGUOUS_TICKET_KEY = ("ambiguous-ticket-key", 500, "Several tickets have that key");
    /// The ticket is already linked to the target, or already has an incident.
    ALREADY_LINKED = ("already-linked", 500, "The ticket is already linked");
    /// It did not answer in time, also not when tried again.
    TRACKER_UNAVAILABLE = ("tracker-unavailable", 503, "The tracker is unavailable");
    /// 401 or 403.
    TRACKER_REFUSED = ("tracker-refused", 500, "The tracker refused our credentials");
    /// A private address, or no TLS.
    TRACKER_NOT_ALLOWED = ("tracker-not-allowed", 500, "The tracker's address is not allowed");
    /// Not what such a tracker answers.
    TRACKER_MISBEHAVED = ("tracker-misbehaved", 500, "The tracker's answer was not understood");
    /// Not XML, or not JUnit's.
    INVALID_JUNIT = ("invalid-junit", 500, "The file is not a JUnit report");
}
