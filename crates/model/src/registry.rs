//! The task types of a process.

use std::collections::BTreeMap;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;

use crate::limits::LAST_PRIORITY;
use crate::problem::{NO_SECRET_KEY, NOT_RUNNABLE};
use crate::sealing;
use crate::secret;
use crate::task_type::stored_unique_key;
use crate::validate::{ParameterError, validate};
use crate::{
    CreateContext, CreateError, Holder, Keyring, NAME_BYTES, Outcome, ProblemKind, Progress, Resources, RunContext,
    RunError, TaskType, TaskTypeInfo,
};

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The set of task types that a process accepts (API) or runs (worker).
/// Cheap to clone.
#[derive(Clone, Default)]
pub struct Registry {
    types: Arc<BTreeMap<&'static str, Entry>>,
}

/// One registered task type.
#[derive(Clone)]
pub struct Entry {
    info: TaskTypeInfo,
    problems: Vec<ProblemKind>,
    /// Whether any parameter is a [`Secret`](crate::Secret).
    secret: bool,
    schema: Arc<Value>,
    validator: Arc<jsonschema::Validator>,
    steps: Arc<dyn Steps>,
}

/// The request named a type that is not registered.
#[derive(Debug, thiserror::Error)]
#[error("'{name}' is not a task type here; the known ones are {known}")]
pub struct UnknownTaskType {
    name: String,
    known: String,
}

impl Registry {
    /// No types yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a task type.
    ///
    /// # Panics
    /// If its name, id prefix or queue is longer than [`NAME_BYTES`], if another type has its name or id prefix, if
    /// its priority is over 9, or if its parameters have no valid JSON Schema. Such defects show at the program's
    /// first start.
    #[must_use]
    pub fn with<T: TaskType>(mut self) -> Self {
        let info = TaskTypeInfo::of::<T>();
        assert!(
            [info.name, info.id_prefix, info.queue].iter().all(|name| name.len() <= NAME_BYTES),
            "{}: a name may have at most {NAME_BYTES} bytes",
            info.name
        );
        assert!(info.priority <= LAST_PRIORITY, "{}: a priority is 0 to {LAST_PRIORITY}", info.name);
        assert!(!self.types.contains_key(info.name), "task type {} is registered twice", info.name);
        assert!(
            !self.types.values().any(|entry| entry.info.id_prefix.eq_ignore_ascii_case(info.id_prefix)),
            "{}: another type has the id prefix {}",
            info.name,
            info.id_prefix
        );
        let schema = schemars::schema_for!(T).to_value();
        let validator = jsonschema::options()
            .should_validate_formats(true)
            .build(&schema)
            .unwrap_or_else(|error| panic!("{}: its parameters' schema is invalid: {error}", info.name));
        let secret = secret::has_secret(&schema);
        let mut problems = T::PROBLEMS.to_vec();
        if secret && !problems.contains(&NO_SECRET_KEY) {
            problems.push(NO_SECRET_KEY);
        }
        let entry = Entry {
            info,
            problems,
            secret,
            schema: Arc::new(schema),
            validator: Arc::new(validator),
            steps: Arc::new(Typed::<T>(PhantomData)),
        };
        Arc::make_mut(&mut self.types).insert(info.name, entry);
        self
    }

    /// The type with this name.
    ///
    /// # Errors
    /// If there is none; the error lists the known types.
    pub fn get(&self, name: &str) -> Result<&Entry, UnknownTaskType> {
        self.types.get(name).ok_or_else(|| UnknownTaskType {
            name: name.chars().take(100).collect(),
            known: self.types.keys().copied().collect::<Vec<_>>().join(", "),
        })
    }

    /// The type whose public ids begin with this prefix, in any case.
    #[must_use]
    pub fn by_id_prefix(&self, prefix: &str) -> Option<&Entry> {
        self.types.values().find(|entry| entry.info.id_prefix.eq_ignore_ascii_case(prefix))
    }

    /// Every registered type, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.types.values()
    }

    /// The queues of the registered types, each once.
    #[must_use]
    pub fn queues(&self) -> Vec<String> {
        let mut queues: Vec<String> = self.types.values().map(|entry| entry.info.queue.to_owned()).collect();
        queues.sort_unstable();
        queues.dedup();
        queues
    }
}

impl Entry {
    /// The type's constants.
    #[must_use]
    pub fn info(&self) -> &TaskTypeInfo {
        &self.info
    }

    /// The problems that its `create` step may report as impossible.
    #[must_use]
    pub fn problems(&self) -> &[ProblemKind] {
        &self.problems
    }

    /// Whether any of its parameters is a [`Secret`](crate::Secret), so that its tasks
    /// need a [`Keyring`].
    #[must_use]
    pub fn has_secrets(&self) -> bool {
        self.secret
    }

    /// The JSON Schema (2020-12) of its parameters.
    #[must_use]
    pub fn schema(&self) -> &Value {
        &self.schema
    }

    /// All errors of these parameters; empty if they are valid.
    #[must_use]
    pub fn validate(&self, parameters: &Value) -> Vec<ParameterError> {
        validate(&self.validator, &self.schema, parameters, self.secret)
    }

    /// Reads parameters as what the type says they are, once for all that is done with them.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn read(&self, parameters: Value) -> Result<Parameters<'_>, Vec<ParameterError>> {
        let errors = self.validate(&parameters);
        if !errors.is_empty() {
            return Err(errors);
        }
        let task = self.steps.read(&parameters)?;
        Ok(Parameters { entry: self, json: parameters, task })
    }

    /// Runs the type's `create` step for stored parameters, to check whether a task could be
    /// started with them now. Returns the step's answer.
    ///
    /// # Errors
    /// If the step can't run: the host has no [`Keyring`], or the stored parameters do not match
    /// the type or were sealed for another holder.
    pub async fn create_again(
        &self,
        stored: Value,
        holder: Holder<'_>,
        context: &CreateContext,
    ) -> Result<Result<(), CreateError>, CreateError> {
        if self.secret {
            self.keyring(&context.resources)?;
        }
        self.steps.create_again(stored, holder, context).await
    }

    fn keyring<'r>(&self, resources: &'r Resources) -> Result<&'r Keyring, CreateError> {
        resources.get::<Keyring>().ok_or_else(|| CreateError::Impossible {
            kind: NO_SECRET_KEY,
            detail: format!(
                "{} has secret parameters, and this host has no key to encrypt them: set LONGHAUL_SECRET_KEY.",
                self.info.name
            ),
        })
    }

    /// Runs the type's `run` step.
    ///
    /// # Errors
    /// The error of the step; a permanent error if the stored parameters do not match the type,
    /// because the type has changed or the parameters came from SQL, which does not check them.
    pub async fn run(&self, parameters: Value, context: RunContext) -> Result<Outcome, RunError> {
        if self.secret {
            // Sealed parameters do not fit the schema; the type itself is as strict.
            return self.steps.run(parameters, context).await;
        }
        let errors = self.validate(&parameters);
        if !errors.is_empty() {
            let listed: Vec<String> =
                errors.iter().take(20).map(|error| format!("{}: {}", error.pointer, error.message)).collect();
            let detail = format!("The stored parameters do not match {}. {}", self.info.name, listed.join(" "));
            return Err(RunError::permanent(NOT_RUNNABLE, detail));
        }
        self.steps.run(parameters, context).await
    }
}

/// Parameters that fit their type.
pub struct Parameters<'e> {
    entry: &'e Entry,
    json: Value,
    task: Box<dyn Task>,
}

impl<'e> Parameters<'e> {
    /// Their type.
    #[must_use]
    pub fn entry(&self) -> &'e Entry {
        self.entry
    }

    /// Runs the type's `create` step.
    ///
    /// # Errors
    /// Whatever the step refuses with.
    pub async fn create(&self, context: &CreateContext) -> Result<Progress, CreateError> {
        if self.entry.secret {
            self.entry.keyring(&context.resources)?;
        }
        self.task.create(context).await
    }

    /// The keys of a task with these parameters.
    #[must_use]
    pub fn keys(&self) -> Keys {
        self.task.keys()
    }

    /// The same, unless the task has keys of its own; the unique one as it was given.
    #[must_use]
    pub fn keys_unless(&self, key: Option<String>, unique_key: Option<&str>) -> Keys {
        let keys = self.keys();
        let unique_key = unique_key.map(|own| stored_unique_key(self.entry.info.name, own)).or(keys.unique_key);
        Keys { key: key.or(keys.key), unique_key }
    }

    /// The form in which parameters are stored: as they are, but secrets are sealed for who
    /// is to hold them.
    ///
    /// # Errors
    /// [`CreateError::Impossible`] with the code `no-secret-key` when the host has no
    /// [`Keyring`].
    pub fn into_stored(self, holder: Holder<'_>, resources: &Resources) -> Result<Value, CreateError> {
        if !self.entry.secret {
            return Ok(self.json);
        }
        self.task.sealed(holder, self.entry.keyring(resources)?)
    }

    /// A text that is the same for the same parameters. Of secrets it has a digest that
    /// tells nothing to who has no key.
    ///
    /// # Errors
    /// As [`into_stored`](Parameters::into_stored).
    pub fn fingerprint(&self, resources: &Resources) -> Result<String, CreateError> {
        if !self.entry.secret {
            // serde_json sorts members, so the same parameters are the same text.
            return Ok(self.json.to_string());
        }
        self.task.fingerprint(self.entry.keyring(resources)?)
    }
}

/// What [`TaskType::key`] and [`TaskType::unique_key`] say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys {
    /// The task's key.
    pub key: Option<String>,
    /// The unique key, in its stored form.
    pub unique_key: Option<String>,
}

/// A [`TaskType`] without its type.
trait Steps: Send + Sync {
    fn read(&self, parameters: &Value) -> Result<Box<dyn Task>, Vec<ParameterError>>;
    fn create_again<'a>(
        &'a self,
        stored: Value,
        holder: Holder<'a>,
        context: &'a CreateContext,
    ) -> BoxFuture<'a, Result<Result<(), CreateError>, CreateError>>;
    fn run(&self, parameters: Value, context: RunContext) -> BoxFuture<'_, Result<Outcome, RunError>>;
}

/// A value of a [`TaskType`] without its type.
trait Task: Send + Sync {
    fn create<'a>(&'a self, context: &'a CreateContext) -> BoxFuture<'a, Result<Progress, CreateError>>;
    fn keys(&self) -> Keys;
    fn sealed(&self, holder: Holder<'_>, keyring: &Keyring) -> Result<Value, CreateError>;
    fn fingerprint(&self, keyring: &Keyring) -> Result<String, CreateError>;
}

impl<T: TaskType> Task for T {
    fn create<'a>(&'a self, context: &'a CreateContext) -> BoxFuture<'a, Result<Progress, CreateError>> {
        Box::pin(TaskType::create(self, context))
    }

    fn keys(&self) -> Keys {
        let unique_key = self.unique_key().map(|key| stored_unique_key(T::NAME, &key));
        Keys { key: self.key(), unique_key }
    }

    fn sealed(&self, holder: Holder<'_>, keyring: &Keyring) -> Result<Value, CreateError> {
        secret::sealed(self, keyring, T::NAME, holder).map_err(|error| CreateError::Internal(error.into()))
    }

    fn fingerprint(&self, keyring: &Keyring) -> Result<String, CreateError> {
        let digested = secret::digested(self, keyring);
        digested.map(|value| value.to_string()).map_err(|error| CreateError::Internal(error.into()))
    }
}

struct Typed<T>(PhantomData<fn() -> T>);

impl<T: TaskType> Steps for Typed<T> {
    fn read(&self, parameters: &Value) -> Result<Box<dyn Task>, Vec<ParameterError>> {
        let task = T::deserialize(parameters)
            .map_err(|error| vec![ParameterError { pointer: "/Parameters".to_owned(), message: error.to_string() }])?;
        Ok(Box::new(task))
    }

    fn create_again<'a>(
        &'a self,
        stored: Value,
        holder: Holder<'a>,
        context: &'a CreateContext,
    ) -> BoxFuture<'a, Result<Result<(), CreateError>, CreateError>> {
        Box::pin(async move {
            let (task, _) = secret::opened::<T>(stored, context.resources.get::<Keyring>(), T::NAME, holder);
            let task = task.map_err(|error| {
                let message = format!("The stored data no longer match {}: {error}", T::NAME);
                CreateError::Invalid(vec![ParameterError { pointer: "/Parameters".to_owned(), message }])
            })?;
            Ok(TaskType::create(&task, context).await.map(drop))
        })
    }

    fn run(&self, mut parameters: Value, context: RunContext) -> BoxFuture<'_, Result<Outcome, RunError>> {
        Box::pin(async move {
            // Only then does it matter who the task is by.
            let created_by = match sealing::of_schedule(&mut parameters) {
                true => context.created_by().await?,
                false => None,
            };
            let holder = Holder::Task { id: context.task_id(), created_by: created_by.as_deref() };
            let (task, secrets) =
                secret::opened::<T>(parameters, context.resources().get::<Keyring>(), T::NAME, holder);
            context.hide(secrets);
            let task = task.map_err(|error| {
                RunError::permanent(NOT_RUNNABLE, format!("The stored parameters do not match {}: {error}", T::NAME))
            })?;
            task.run(context).await
        })
    }
}
