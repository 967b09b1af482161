//! The forge's records on disk: one redb file, one durable transaction a change.

use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::Error;
use crate::records::{Change, Record, State};

const RECORDS: TableDefinition<&str, &[u8]> = TableDefinition::new("records");

/// An open database.
pub(crate) struct Store {
    db: Database,
    path: PathBuf,
}

impl Store {
    /// Opens or creates the file and reads everything in it. Blocks.
    pub(crate) fn open(path: &Path) -> Result<(Self, State), Error> {
        let failed = |e: redb::Error| Error::Store { path: path.to_owned(), why: e.to_string() };
        let db = Database::create(path).map_err(|e| failed(e.into()))?;
        let store = Store { db, path: path.to_owned() };
        let mut state = State::default();
        store.write(&[])?; // Makes the table, so that reading it cannot fail for want of one.
        let read = store.db.begin_read().map_err(|e| failed(e.into()))?;
        let table = read.open_table(RECORDS).map_err(|e| failed(e.into()))?;
        for entry in table.iter().map_err(|e| failed(e.into()))? {
            let (key, value) = entry.map_err(|e| failed(e.into()))?;
            let record: Record = serde_json::from_slice(value.value())
                .map_err(|source| Error::Record { key: key.value().to_owned(), source })?;
            state.apply(Change::Put(record));
        }
        Ok((store, state))
    }

    /// Writes all changes or none; once it returns, they survive anything short of the disk's loss. Blocks.
    pub(crate) fn write(&self, changes: &[Change]) -> Result<(), Error> {
        self.try_write(changes).map_err(|e| match e {
            WriteError::Redb(e) => Error::Store { path: self.path.clone(), why: e.to_string() },
            WriteError::Json(key, source) => Error::Record { key, source },
        })
    }

    fn try_write(&self, changes: &[Change]) -> Result<(), WriteError> {
        let txn = self.db.begin_write().map_err(redb::Error::from)?;
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
