//! A memory for keychains that are slow to ask.

use super::{Keychain, Scope};
use crate::config::Clock;
use crate::{Credential, Result};
use async_trait::async_trait;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// Remembers the answers of another keychain for a while. Errors are not remembered.
pub struct Cached {
    inner: Arc<dyn Keychain>,
    lifetime: Duration,
    now: Clock,
    answers: Mutex<HashMap<String, (SystemTime, Option<Credential>)>>,
}

const MOST: usize = 4096;

impl Cached {
    /// Remembers for `lifetime` by the given clock. A clock that goes backwards ends the memory.
    pub fn new(inner: Arc<dyn Keychain>, lifetime: Duration, now: Clock) -> Self {
        Self { inner, lifetime, now, answers: Mutex::default() }
    }
}

fn key(scope: &Scope<'_>) -> String {
    format!("{}/{}", scope.registry, scope.repository)
}

#[async_trait]
impl Keychain for Cached {
    async fn credential(&self, scope: &Scope<'_>) -> Result<Option<Credential>> {
        let (key, now) = (key(scope), (self.now)());
        {
            let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((since, answer)) = answers.get(&key)
                && now.duration_since(*since).is_ok_and(|age| age < self.lifetime)
            {
                return Ok(answer.clone());
            }
        }
        let answer = self.inner.credential(scope).await?;
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= MOST {
            answers.clear();
        }
        answers.insert(key, (now, answer.clone()));
        Ok(answer)
    }

    fn forget(&self, scope: &Scope<'_>) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).remove(&key(scope));
        self.inner.forget(scope);
    }
}
