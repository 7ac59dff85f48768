//! The rows of a file.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use csv::StringRecord;
use serde::de::DeserializeOwned;

use super::bounded::{self, Bounded};
use super::{ImportError, Mistakes};

/// How many rows one file may have: all are held while they are looked at.
const ROWS_MAX: usize = 1_000_000;
/// The longest line of JSON, or record of CSV, that is read, in bytes.
const LINE_MAX: u64 = 65_536;
const TOO_LONG: &str = "the line is too long";

/// All rows of the file, each with its number from one, without a CSV file's line of names.
///
/// # Errors
///
/// All rows that can't be understood are told together.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<(usize, T)>, ImportError> {
    let ending = path
        .extension()
        .and_then(|ending| ending.to_str())
        .unwrap_or_default();
    let open = || File::open(path).map_err(|error| unreadable(path, error));
    match ending {
        "csv" => csv(path, open()?),
        "jsonl" | "ndjson" => json_lines(path, open()?),
        _ => Err(ImportError::OtherFormat(path.to_path_buf())),
    }
}

fn unreadable(path: &Path, source: std::io::Error) -> ImportError {
    ImportError::File {
        path: path.to_path_buf(),
        source,
    }
}

fn too_long(path: &Path) -> ImportError {
    ImportError::TooLong {
        path: path.to_path_buf(),
        most: ROWS_MAX,
    }
}

fn csv<T: DeserializeOwned>(path: &Path, file: File) -> Result<Vec<(usize, T)>, ImportError> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(Bounded::new(file, LINE_MAX));
    let (mut rows, mut mistakes) = (Vec::new(), Mistakes::default());
    let names = match reader.headers() {
        Ok(names) => names.clone(),
        Err(error) => return Err(in_names(path, error)),
    };
    let mut record = StringRecord::new();
    for number in 1.. {
        reader.get_mut().begin();
        let row = match reader.read_record(&mut record) {
            Ok(false) => break,
            Ok(true) => record.deserialize(Some(&names)),
            Err(error) => Err(error),
        };
        match row {
            Ok(row) => rows.push((number, row)),
            Err(error) if bounded::is_too_long(&error) => {
                mistakes.add(number, TOO_LONG);
                break;
            }
            Err(error) if error.is_io_error() => return Err(unreadable(path, error.into())),
            Err(error) => mistakes.add(number, &csv_mistake(&error)),
        }
        if number > ROWS_MAX {
            return Err(too_long(path));
        }
    }
    mistakes.finish()?;
    Ok(rows)
}

/// The line of names can't be understood.
fn in_names(path: &Path, error: csv::Error) -> ImportError {
    let what = if bounded::is_too_long(&error) {
        TOO_LONG.to_owned()
    } else if error.is_io_error() {
        return unreadable(path, error.into());
    } else {
        csv_mistake(&error)
    };
    ImportError::Mistakes(vec![format!("the line of names: {what}")])
}

/// What is wrong, without the value, which may be a digest.
fn csv_mistake(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Deserialize { err, .. } => match (err.field(), err.kind()) {
            (Some(field), _) => format!("column {} can't be understood", field + 1),
            (None, csv::DeserializeErrorKind::Message(message)) => message.clone(),
            (None, _) => "it can't be understood".to_owned(),
        },
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => {
            format!("it has {len} columns, and the first line {expected_len}")
        }
        csv::ErrorKind::Utf8 { .. } => "it is not UTF-8".to_owned(),
        _ => "it can't be read".to_owned(),
    }
}

fn json_lines<T: DeserializeOwned>(path: &Path, file: File) -> Result<Vec<(usize, T)>, ImportError> {
    let (mut rows, mut mistakes) = (Vec::new(), Mistakes::default());
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let read = reader
            .by_ref()
            .take(LINE_MAX)
            .read_until(b'\n', &mut line)
            .map_err(|error| unreadable(path, error))?;
        if read == 0 {
            break;
        }
        if read as u64 == LINE_MAX && !line.ends_with(b"\n") {
            mistakes.add(number, TOO_LONG);
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_slice(&line) {
            Ok(row) => rows.push((number, row)),
            Err(error) => mistakes.add(number, &json_mistake(&error)),
        }
        if rows.len() > ROWS_MAX {
            return Err(too_long(path));
        }
    }
    mistakes.finish()?;
    Ok(rows)
}

/// Where and of what kind the mistake is. The message itself may repeat a value.
fn json_mistake(error: &serde_json::Error) -> String {
    use serde_json::error::Category;
    let kind = match error.classify() {
        Category::Syntax => "it is no JSON",
        Category::Eof => "the JSON ends too early",
        Category::Data => "a field is missing, unknown, or of the wrong type",
        Category::Io => "it can't be read",
    };
    format!("{kind}, at column {}", error.column())
}
