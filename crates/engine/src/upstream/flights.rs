//! One question at a time.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Work that is under way, by what it is about: whoever wants the same waits for the same answer.
///
/// The work runs in a task of its own, so that it goes on when the one who asked first goes away.
pub(super) struct Flights<K, V>(Lanes<K, V>);

type Lanes<K, V> = Arc<Mutex<HashMap<K, watch::Receiver<Option<V>>>>>;

impl<K, V> Default for Flights<K, V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K, V> Flights<K, V>
where
    K: Eq + Hash + Clone + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// The answer of the work that is under way for `key`, or of `work`. `None` if the work panicked.
    pub(super) async fn run<F>(&self, key: K, work: impl FnOnce() -> F) -> Option<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut answer = {
            let mut lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match lanes.get(&key) {
                Some(answer) => answer.clone(),
                None => {
                    let (sender, answer) = watch::channel(None);
                    lanes.insert(key.clone(), answer.clone());
                    let landing = Landing { lanes: self.0.clone(), key };
                    let work = work();
                    tokio::spawn(async move {
                        let value = work.await;
                        // Gone before the answer is known: whoever comes later finds what the work left behind.
                        drop(landing);
                        sender.send_replace(Some(value));
                    });
                    answer
                }
            }
        };
        let value = answer.wait_for(Option::is_some).await.ok()?;
        value.clone()
    }
}

/// Clears the lane, also when the work panics.
struct Landing<K: Eq + Hash, V> {
    lanes: Lanes<K, V>,
    key: K,
}

impl<K: Eq + Hash, V> Drop for Landing<K, V> {
    fn drop(&mut self) {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test]
    async fn everybody_gets_the_one_answer_and_the_next_one_asks_again() {
        let flights = Arc::new(Flights::<u8, u32>::default());
        let (asked, gate) = (Arc::new(AtomicU32::new(0)), Arc::new(tokio::sync::Semaphore::new(0)));
        let ask = || {
            let (flights, asked, gate) = (flights.clone(), asked.clone(), gate.clone());
            tokio::spawn(async move {
                let work = async move {
                    gate.acquire().await.unwrap().forget();
                    asked.fetch_add(1, Ordering::SeqCst) + 1
                };
                flights.run(7, || work).await
            })
        };
        let first = ask();
        tokio::task::yield_now().await;
        let others: Vec<_> = (0..20).map(|_| ask()).collect();
        tokio::task::yield_now().await;
        // The one who asked first goes away.
        first.abort();
        gate.add_permits(1);
        for other in others {
            assert_eq!(other.await.unwrap(), Some(1));
        }
        gate.add_permits(1);
        assert_eq!(ask().await.unwrap(), Some(2));
    }

    #[tokio::test]
    async fn a_panic_is_nobodys_answer_and_blocks_nobody() {
        let flights = Flights::<u8, u32>::default();
        assert_eq!(flights.run(1, || async { panic!("on purpose") }).await, None);
        assert_eq!(flights.run(1, || async { 5 }).await, Some(5));
    }
}
