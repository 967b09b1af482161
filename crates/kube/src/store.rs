//! A watched copy of one kind of object, answering from indexes instead of listing (invariant 6).

use futures::{StreamExt, TryStreamExt};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Resource, ResourceExt};
use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;
use std::sync::Arc;
use tokio::sync::{broadcast, watch};

/// Computes the values that one object stands under in an index.
pub type Indexer<K> = fn(&K) -> Vec<String>;

/// What happened to an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Name of the object. Stores are of one namespace.
    pub name: String,
    /// It is gone.
    pub deleted: bool,
}

/// The watched copy. Cheap to clone; all clones see the same.
pub struct Store<K> {
    inner: Arc<Inner<K>>,
}

impl<K> Clone for Store<K> {
    fn clone(&self) -> Self {
        Store { inner: Arc::clone(&self.inner) }
    }
}

struct Inner<K> {
    state: RwLock<State<K>>,
    indexers: Vec<(&'static str, Indexer<K>)>,
    ready: watch::Sender<bool>,
    changes: broadcast::Sender<Change>,
    // Counts changes, so that waiters cannot miss one between looking and sleeping.
    version: watch::Sender<u64>,
}

struct State<K> {
    objects: HashMap<String, Arc<K>>,
    // index name -> value -> object names
    indexes: HashMap<&'static str, BTreeMap<String, BTreeSet<String>>>,
    // names seen since a re-list began
    relist: Option<BTreeSet<String>>,
}

impl<K> Store<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    /// Starts watching on a task of its own, until every clone is dropped or `stop` is cancelled by the caller
    /// aborting the runtime. Errors of the watch are logged and retried with backoff, from where it stopped.
    pub fn watch(api: Api<K>, config: watcher::Config, indexers: &[(&'static str, Indexer<K>)]) -> Store<K> {
        let inner = Arc::new(Inner {
            state: RwLock::new(State {
                objects: HashMap::new(),
                indexes: indexers.iter().map(|(name, _)| (*name, BTreeMap::new())).collect(),
                relist: None,
            }),
            indexers: indexers.to_vec(),
            ready: watch::Sender::new(false),
            changes: broadcast::channel(16_384).0,
            version: watch::Sender::new(0),
        });
        let weak = Arc::downgrade(&inner);
        tokio::spawn(async move {
            let mut events = watcher::watcher(api, config).default_backoff().into_stream().boxed();
            loop {
                match events.try_next().await {
                    Ok(Some(event)) => match weak.upgrade() {
                        Some(inner) => inner.apply(event),
                        None => return,
                    },
                    Ok(None) => return,
                    Err(error) => {
                        if weak.strong_count() == 0 {
                            return;
                        }
                        tracing::warn!(kind = std::any::type_name::<K>(), %error, "watch was interrupted; it is resumed");
                    }
                }
            }
        });
        Store { inner }
    }

    /// Returns once the first list is complete.
    pub async fn ready(&self) {
        // The sender lives in `inner`, which `self` holds: it cannot be gone.
        let _ = self.inner.ready.subscribe().wait_for(|ready| *ready).await;
    }

    /// True once the first list is complete.
    pub fn is_ready(&self) -> bool {
        *self.inner.ready.borrow()
    }

    /// One object by name.
    pub fn get(&self, name: &str) -> Option<Arc<K>> {
        self.inner.state.read().objects.get(name).cloned()
    }

    /// Everything, in no order.
    pub fn all(&self) -> Vec<Arc<K>> {
        self.inner.state.read().objects.values().cloned().collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.inner.state.read().objects.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those that stand under `value` in the index `index`, by name.
    pub fn by(&self, index: &str, value: &str) -> Vec<Arc<K>> {
        let state = self.inner.state.read();
        state
            .indexes
            .get(index)
            .and_then(|i| i.get(value))
            .map(|names| names.iter().filter_map(|n| state.objects.get(n).cloned()).collect())
            .unwrap_or_default()
    }

    /// How many stand under `value` in the index `index`.
    pub fn count(&self, index: &str, value: &str) -> usize {
        self.inner.state.read().indexes.get(index).and_then(|i| i.get(value)).map_or(0, BTreeSet::len)
    }

    /// Names of what changes from now on. A receiver that lags gets `RecvError::Lagged` and should look at
    /// everything again.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.inner.changes.subscribe()
    }

    /// Returns once `look` gives something; it is asked now and after every change.
    pub async fn wait_for<T>(&self, mut look: impl FnMut(&Store<K>) -> Option<T>) -> T {
        let mut version = self.inner.version.subscribe();
        loop {
            version.mark_unchanged();
            if let Some(found) = look(self) {
                return found;
            }
            // Cannot fail: `self` holds the sender.
            let _ = version.changed().await;
        }
    }
}

impl<K: Resource<DynamicType = ()>> Inner<K> {
    fn apply(&self, event: Event<K>) {
        let mut changed = Vec::new();
        let mut initialised = false;
        {
            let mut state = self.state.write();
            match event {
                Event::Init => state.relist = Some(BTreeSet::new()),
                Event::InitApply(object) => {
                    let name = object.name_any();
                    if let Some(seen) = &mut state.relist {
                        seen.insert(name.clone());
                    }
                    self.put(&mut state, name.clone(), object);
                    changed.push(Change { name, deleted: false });
                }
                Event::InitDone => {
                    if let Some(seen) = state.relist.take() {
                        let gone: Vec<String> =
                            state.objects.keys().filter(|name| !seen.contains(*name)).cloned().collect();
                        for name in gone {
                            self.remove(&mut state, &name);
                            changed.push(Change { name, deleted: true });
                        }
                    }
                    initialised = true;
                }
                Event::Apply(object) => {
                    let name = object.name_any();
                    self.put(&mut state, name.clone(), object);
                    changed.push(Change { name, deleted: false });
                }
                Event::Delete(object) => {
                    let name = object.name_any();
                    self.remove(&mut state, &name);
                    changed.push(Change { name, deleted: true });
                }
            }
        }
        if initialised {
            self.ready.send_replace(true);
        }
        for change in changed {
            // No receiver is no failure.
            let _ = self.changes.send(change);
        }
        self.version.send_modify(|v| *v += 1);
    }

    fn put(&self, state: &mut State<K>, name: String, mut object: K) {
        // Nobody here reads managedFields and they are large.
        object.meta_mut().managed_fields = None;
        self.remove(state, &name);
        for (index, indexer) in &self.indexers {
            for value in indexer(&object) {
                state.indexes.entry(index).or_default().entry(value).or_default().insert(name.clone());
            }
        }
        state.objects.insert(name, Arc::new(object));
    }

    fn remove(&self, state: &mut State<K>, name: &str) {
        let Some(old) = state.objects.remove(name) else { return };
        for (index, indexer) in &self.indexers {
            let Some(values) = state.indexes.get_mut(index) else { continue };
            for value in indexer(&old) {
                if let Some(names) = values.get_mut(&value) {
                    names.remove(name);
                    if names.is_empty() {
                        values.remove(&value);
                    }
                }
            }
        }
    }
}
