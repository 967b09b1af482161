//! The forge's records on disk: one redb file, one durable transaction a change.

use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::Error;
use crate::records::{Change, Record, State};

const RECORDS: TableDefinition<&str, &[u8]> = TableDefinition::new("records");

/// An open database.
pub(crate) struct Store {
    /// `None` once closed.
    db: Mutex<Option<Database>>,
    path: PathBuf,
}

impl Store {
    /// Opens or creates the file and reads everything in it. Blocks.
    pub(crate) fn open(path: &Path) -> Result<(Self, State), Error> {
        let failed = |e: redb::Error| Error::Store { path: path.to_owned(), why: e.to_string() };
        let db = Database::create(path).map_err(|e| failed(e.into()))?;
        let store = Store { db: Mutex::new(None), path: path.to_owned() };
        let mut state = State::default();
        // Makes the table, so that reading it cannot fail for want of one.
        store.write_to(&db, &[])?;
        let read = db.begin_read().map_err(|e| failed(e.into()))?;
        let table = read.open_table(RECORDS).map_err(|e| failed(e.into()))?;
        for entry in table.iter().map_err(|e| failed(e.into()))? {
            let (key, value) = entry.map_err(|e| failed(e.into()))?;
            let record: Record = serde_json::from_slice(value.value())
                .map_err(|source| Error::Record { key: key.value().to_owned(), source })?;
            state.apply(Change::Put(record));
        }
        drop(table);
        *store.db.lock() = Some(db);
        Ok((store, state))
    }

    /// Closes the file, so that it can be opened again at once. Every later write is refused.
    pub(crate) fn close(&self) {
        *self.db.lock() = None;
    }

    /// Writes all changes or none; once it returns, they survive anything short of the disk's loss. Blocks.
    pub(crate) fn write(&self, changes: &[Change]) -> Result<(), Error> {
        // One transaction at a time is redb's own rule.
        match &*self.db.lock() {
            Some(db) => self.write_to(db, changes),
            None => Err(Error::Store { path: self.path.clone(), why: "it was closed".to_owned() }),
        }
    }

    fn write_to(&self, db: &Database, changes: &[Change]) -> Result<(), Error> {
        try_write(db, changes).map_err(|e| match e {
            WriteError::Redb(e) => Error::Store { path: self.path.clone(), why: e.to_string() },
            WriteError::Json(key, source) => Error::Record { key, source },
        })
    }
}

fn try_write(db: &Database, changes: &[Change]) -> Result<(), WriteError> {
    {
        let txn = db.begin_write().map_err(redb::Error::from)?;
        {
            let mut table = txn.open_table(RECORDS).map_err(redb::Error::from)?;
            for change in changes {
                match change {
                    Change::Put(record) => {
                        let key = record.key();
                        let value =
                            serde_json::to_vec(record).map_err(|e| WriteError::Json(key.clone(), e))?;
                        table.insert(key.as_str(), value.as_slice()).map_err(redb::Error::from)?;
                    }
                    Change::Forget(record) => {
                        table.remove(record.key().as_str()).map_err(redb::Error::from)?;
                    }
                }
            }
        }
        txn.commit().map_err(redb::Error::from)?;
        Ok(())
    }
}

enum WriteError {
    Redb(redb::Error),
    Json(String, serde_json::Error),
}

impl From<redb::Error> for WriteError {
    fn from(e: redb::Error) -> Self {
        WriteError::Redb(e)
    }
}
