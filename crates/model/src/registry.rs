//! The task types a process knows.

use std::collections::BTreeMap;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;

use crate::problem::{NO_SECRET_KEY, NOT_RUNNABLE};
use crate::secret;
use crate::task_type::stored_unique_key;
use crate::validate::{ParameterError, validate};
use crate::{
    CreateContext, CreateError, Keyring, Outcome, ProblemKind, Progress, Resources, RunContext, RunError, TaskType,
    TaskTypeInfo,
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
    /// When its name or id prefix is taken, its priority is over 9, or its
    /// parameters have no valid JSON Schema: defects of the program that its
    /// first start shows.
    #[must_use]
    pub fn with<T: TaskType>(mut self) -> Self {
        let info = TaskTypeInfo::of::<T>();
        assert!(info.priority <= 9, "{}: a priority is 0 to 9", info.name);
        assert!(!self.types.contains_key(info.name), "task type {} is registered twice", info.name);
        assert!(
            !self.types.values().any(|entry| entry.info.id_prefix.eq_ignore_ascii_case(info.id_prefix)),
            "{}: the id prefix {} is taken",
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
    /// When there is none; the error lists those there are.
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

    /// What its `create` step may find impossible.
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

    /// Everything that is wrong with these parameters; empty when they fit.
    #[must_use]
    pub fn validate(&self, parameters: &Value) -> Vec<ParameterError> {
        validate(&self.validator, &self.schema, "/Parameters", parameters, self.secret)
    }

    /// Runs the type's `create` step.
    ///
    /// # Errors
    /// Whatever the step refuses with; [`CreateError::Invalid`] when the
    /// parameters do not fit their type.
    pub async fn create(&self, parameters: &Value, context: &CreateContext) -> Result<Progress, CreateError> {
        let errors = self.validate(parameters);
        if !errors.is_empty() {
            return Err(CreateError::Invalid(errors));
        }
        if self.secret {
            self.keyring(&context.resources)?;
        }
        self.steps.create(parameters, context).await
    }

    /// Runs the type's `create` step for a task that is stored, to learn whether it could be
    /// started now.
    ///
    /// # Errors
    /// As [`create`](Entry::create).
    pub async fn create_again(&self, stored: Value, context: &CreateContext) -> Result<(), CreateError> {
        if self.secret {
            self.keyring(&context.resources)?;
        }
        self.steps.create_again(stored, context).await
    }

    /// The form in which parameters are stored: as they are, but secrets are sealed.
    ///
    /// # Errors
    /// [`CreateError::Impossible`] with the code `no-secret-key` when the host has no
    /// [`Keyring`]; [`CreateError::Invalid`] when the parameters do not fit their type.
    pub fn to_store(&self, parameters: Value, resources: &Resources) -> Result<Value, CreateError> {
        if !self.secret {
            return Ok(parameters);
        }
        self.steps.sealed(&parameters, self.keyring(resources)?)
    }

    /// A text that is the same for the same parameters. Of secrets it has a digest that
    /// tells nothing to who has no key.
    ///
    /// # Errors
    /// As [`to_store`](Entry::to_store).
    pub fn fingerprint(&self, parameters: &Value, resources: &Resources) -> Result<String, CreateError> {
        if !self.secret {
            // serde_json sorts members, so the same parameters are the same text.
            return Ok(parameters.to_string());
        }
        self.steps.fingerprint(parameters, self.keyring(resources)?)
    }

    fn keyring<'r>(&self, resources: &'r Resources) -> Result<&'r Keyring, CreateError> {
        resources.get::<Keyring>().ok_or_else(|| CreateError::Impossible {
            kind: NO_SECRET_KEY,
            detail: format!(
                "{} has secret parameters, and this host has no key to seal them: set LONGHAUL_SECRET_KEY.",
                self.info.name
            ),
        })
    }

    /// The keys of a task with these parameters.
    ///
    /// # Errors
    /// [`CreateError::Invalid`] when the parameters do not fit their type.
    pub fn keys(&self, parameters: &Value) -> Result<Keys, CreateError> {
        self.steps.keys(parameters)
    }

    /// Runs the type's `run` step.
    ///
    /// # Errors
    /// Whatever the step fails with; a permanent error when the stored
    /// parameters do not fit the type: it changed since, or they came from SQL,
    /// which checks nothing.
    pub async fn run(&self, parameters: Value, context: RunContext) -> Result<Outcome, RunError> {
        if self.secret {
            // Sealed parameters do not fit the schema; the type itself is as strict.
            return self.steps.run(parameters, context).await;
        }
        let errors = self.validate(&parameters);
        if !errors.is_empty() {
            let listed: Vec<String> =
                errors.iter().take(20).map(|error| format!("{}: {}", error.pointer, error.message)).collect();
            let detail = format!("The stored parameters do not fit {}. {}", self.info.name, listed.join(" "));
            return Err(RunError::permanent(NOT_RUNNABLE, detail));
        }
        self.steps.run(parameters, context).await
    }
}

/// What [`TaskType::key`] and [`TaskType::unique_key`] say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys {
    /// Whose task it is.
    pub key: Option<String>,
    /// What makes it the same as another, in the form in which it is stored.
    pub unique_key: Option<String>,
}

/// A [`TaskType`] without its type.
trait Steps: Send + Sync {
    fn sealed(&self, parameters: &Value, keyring: &Keyring) -> Result<Value, CreateError>;
    fn fingerprint(&self, parameters: &Value, keyring: &Keyring) -> Result<String, CreateError>;
    fn keys(&self, parameters: &Value) -> Result<Keys, CreateError>;

    fn create<'a>(
        &'a self,
        parameters: &'a Value,
        context: &'a CreateContext,
    ) -> BoxFuture<'a, Result<Progress, CreateError>>;
    fn create_again<'a>(&'a self, stored: Value, context: &'a CreateContext) -> BoxFuture<'a, Result<(), CreateError>>;
    fn run(&self, parameters: Value, context: RunContext) -> BoxFuture<'_, Result<Outcome, RunError>>;
}

struct Typed<T>(PhantomData<fn() -> T>);

impl<T: TaskType> Typed<T> {
    fn task(parameters: &Value) -> Result<T, CreateError> {
        T::deserialize(parameters).map_err(|error| {
            CreateError::Invalid(vec![ParameterError { pointer: "/Parameters".to_owned(), message: error.to_string() }])
        })
    }
}

impl<T: TaskType> Steps for Typed<T> {
    fn sealed(&self, parameters: &Value, keyring: &Keyring) -> Result<Value, CreateError> {
        secret::sealed(&Self::task(parameters)?, keyring, T::NAME).map_err(|error| CreateError::Internal(error.into()))
    }

    fn fingerprint(&self, parameters: &Value, keyring: &Keyring) -> Result<String, CreateError> {
        let digested = secret::digested(&Self::task(parameters)?, keyring);
        digested.map(|value| value.to_string()).map_err(|error| CreateError::Internal(error.into()))
    }

    fn keys(&self, parameters: &Value) -> Result<Keys, CreateError> {
        let task = Self::task(parameters)?;
        let unique_key = task.unique_key().map(|key| stored_unique_key(T::NAME, &key));
        Ok(Keys { key: task.key(), unique_key })
    }

    fn create<'a>(
        &'a self,
        parameters: &'a Value,
        context: &'a CreateContext,
    ) -> BoxFuture<'a, Result<Progress, CreateError>> {
        Box::pin(async move {
            let task = Self::task(parameters)?;
            task.create(context).await
        })
    }

    fn create_again<'a>(&'a self, stored: Value, context: &'a CreateContext) -> BoxFuture<'a, Result<(), CreateError>> {
        Box::pin(async move {
            let (task, _) = secret::opened::<T>(stored, context.resources.get::<Keyring>(), T::NAME);
            let task = task.map_err(|error| {
                let message = format!("What is stored does not fit {} any more: {error}", T::NAME);
                CreateError::Invalid(vec![ParameterError { pointer: "/Parameters".to_owned(), message }])
            })?;
            task.create(context).await.map(drop)
        })
    }

    fn run(&self, parameters: Value, context: RunContext) -> BoxFuture<'_, Result<Outcome, RunError>> {
        Box::pin(async move {
            let (task, secrets) = secret::opened::<T>(parameters, context.resources().get::<Keyring>(), T::NAME);
            context.hide(secrets);
            let task = task.map_err(|error| {
                RunError::permanent(NOT_RUNNABLE, format!("The stored parameters do not fit {}: {error}", T::NAME))
            })?;
            task.run(context).await
        })
    }
}
