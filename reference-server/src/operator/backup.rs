//! `hm-server backup` and `hm-server restore`, for SQLite. Servers have tools of their own for this.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use hm_metering_seaorm::migration::{MigrateError, must_be_current};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};

use super::OperatorError;
use super::draft::Draft;
use crate::config::{Backend, Config, DatabaseConfig};
use crate::database::Database;
use crate::migration::Migrator;
use crate::secrets::create_private_file;

/// What would mean something else in the address of a database.
const IN_ADDRESS: &AsciiSet = &CONTROLS.add(b'%').add(b'?').add(b'#').add(b':');

/// Why there is no backup, or nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It is not an SQLite file.
    #[error(
        "only an SQLite file is copied by this program; PostgreSQL has pg_dump and pg_restore, MariaDB has mariadb-dump: \
         see \"Backups\" in the operations guide"
    )]
    OtherDatabase,
    /// A database in memory has no file.
    #[error("a database in memory can't be copied or replaced")]
    InMemory,
    /// There is no database to copy.
    #[error("there is no database at {}", .0.display())]
    NoDatabase(PathBuf),
    /// Something is there already, and stays.
    #[error("{} is there already, and is left as it is", .0.display())]
    IsThere(PathBuf),
    /// Another run of the command has not ended.
    #[error("another run of this command is at work on {}", .0.display())]
    IsBusy(PathBuf),
    /// The database can't be told of such a name.
    #[error("{} is not written in UTF-8", .0.display())]
    NotText(PathBuf),
    /// It can't be read or written.
    #[error("{} can't be used", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// What was to be restored is no whole database of this program.
    #[error("{} is not a whole database of hm-server: {reason}", path.display())]
    NotWhole {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl BackupError {
    pub(super) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        |source| Self::File { path, source }
    }
}

/// Copies the database into a new file, for its owner only. Servers may go on working: the copy is the state of one moment.
pub(super) async fn backup(
    config: &Config,
    to: &Path,
    print: &mut (dyn FnMut(&str) + Send),
) -> Result<(), OperatorError> {
    let from = file_of(&config.database)?;
    if !from.exists() {
        return Err(BackupError::NoDatabase(from).into());
    }
    must_be_free(to)?;
    let draft = Draft::begin(to, ".partial")?;
    let database = Database::connect_patiently(&config.database).await?;
    // SQLite takes an empty file for none, and this one is readable by its owner only.
    create_private_file(draft.path()).map_err(BackupError::file(draft.path()))?;
    let copied = copy(&database, draft.path()).await;
    database.close().await?;
    copied?;
    must_be_whole(draft.path(), &config.database).await?;
    draft.publish()?;
    print(&format!("copied the database to {}", to.display()));
    Ok(())
}

async fn copy(database: &Database, to: &Path) -> Result<(), OperatorError> {
    let to = text(to)?.to_owned();
    let copy = Statement::from_sql_and_values(DbBackend::Sqlite, "VACUUM INTO ?", [to.into()]);
    database.writer().execute_raw(copy).await?;
    Ok(())
}

/// Puts a copy where the settings say that the database is. There must be none: what is there is never overwritten.
pub(super) async fn restore(
    config: &Config,
    from: &Path,
    print: &mut (dyn FnMut(&str) + Send),
) -> Result<(), OperatorError> {
    let to = file_of(&config.database)?;
    for file in [to.clone(), beside(&to, "-wal"), beside(&to, "-shm")] {
        must_be_free(&file)?;
    }
    if !from.is_file() {
        return Err(BackupError::NoDatabase(from.to_path_buf()).into());
    }
    if let Some(folder) = to.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(BackupError::file(folder))?;
    }
    let draft = Draft::begin(&to, ".restoring")?;
    let mut copy = create_private_file(draft.path()).map_err(BackupError::file(draft.path()))?;
    let mut source = File::open(from).map_err(BackupError::file(from))?;
    io::copy(&mut source, &mut copy).map_err(BackupError::file(draft.path()))?;
    drop(copy);
    must_be_whole(draft.path(), &config.database).await?;
    draft.publish()?;
    print(&format!("restored {} to {}", from.display(), to.display()));
    Ok(())
}

fn file_of(config: &DatabaseConfig) -> Result<PathBuf, BackupError> {
    if config.backend() != Backend::Sqlite {
        return Err(BackupError::OtherDatabase);
    }
    config.file().ok_or(BackupError::InMemory)
}

pub(super) fn must_be_free(file: &Path) -> Result<(), BackupError> {
    if file.exists() {
        return Err(BackupError::IsThere(file.to_path_buf()));
    }
    Ok(())
}

/// Another file in the same folder, with a name that says whose it is.
pub(super) fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

fn text(path: &Path) -> Result<&str, BackupError> {
    path.to_str()
        .ok_or_else(|| BackupError::NotText(path.to_path_buf()))
}

/// Demands that every page of the file is in order, and that its schema is one that this program can bring up to date.
async fn must_be_whole(file: &Path, config: &DatabaseConfig) -> Result<(), OperatorError> {
    let not_whole = |reason: String| BackupError::NotWhole {
        path: file.to_path_buf(),
        reason,
    };
    let config = DatabaseConfig {
        url: format!(
            "sqlite://{}?mode=rw",
            utf8_percent_encode(text(file)?, IN_ADDRESS)
        ),
        ..config.clone()
    };
    let database = Database::connect_patiently(&config)
        .await
        .map_err(|error| not_whole(error.to_string()))?;
    let looked = async {
        let check = Statement::from_string(DbBackend::Sqlite, "PRAGMA integrity_check(1)");
        let row = database.writer().query_one_raw(check).await?;
        let said: Option<String> = row.map(|row| row.try_get_by_index(0)).transpose()?;
        if said.as_deref() != Some("ok") {
            return Err(MigrateError::Database(DbErr::Custom(said.unwrap_or_default())));
        }
        let tables = "SELECT COUNT(*) FROM sqlite_master WHERE name = 'seaql_migrations'";
        let row = database
            .writer()
            .query_one_raw(Statement::from_string(DbBackend::Sqlite, tables))
            .await?;
        let tables: i64 = row.map_or(Ok(0), |row| row.try_get_by_index(0))?;
        if tables == 0 {
            return Err(MigrateError::Database(DbErr::Custom(
                "it has no such schema".to_owned(),
            )));
        }
        must_be_current::<Migrator>(database.writer()).await
    };
    let looked = looked.await;
    // With the last connection the files beside it go.
    database.close().await?;
    match looked {
        // An older schema is brought up to date when the server starts.
        Ok(()) | Err(MigrateError::TooOld(_)) => Ok(()),
        Err(MigrateError::Database(error)) => Err(not_whole(error.to_string()).into()),
        Err(newer) => Err(newer.into()),
    }
}
