//! The config file: text → [`Model`] → [`Snapshot`](crate::snapshot::Snapshot).
//!
//! ```text
//! text ── yaml.rs ──▶ nodes with places ── reader.rs ──▶ Model ── compile/ ──▶ Snapshot
//!                                            │             │
//!                     record.rs, values/, model/: the one table of fields    checks.rs: what holds between them
//!                                            │
//!                        shape.rs ──▶ JSON Schema (`corelane schema`) and the tables of docs/configuration.md
//! ```
//!
//! Every mistake of a file is reported, each with its line and column, what was found, what was expected and the nearest
//! valid name. A model that [`parse`] returns compiles; a refused file leaves what runs alone.

mod checks;
mod compile;
mod diagnostics;
pub mod model;
mod nearest;
mod reader;
mod record;
mod reference;
mod shape;
mod source;
mod tls;
pub mod values;
mod yaml;

use std::path::Path;

pub use compile::{Hostname, Inputs, compile, hostnames};
pub use diagnostics::{Diagnostic, Diagnostics, Severity};
pub use model::Model;
pub use reference::markdown;
pub use source::{Span, Spanned};
pub use tls::Tls;
pub(crate) use tls::unix_s;
pub use values::{Address, Duration, EndpointAddress};

use values::FilePath;

use reader::{Reader, Value as _};
use source::Source;

/// What `corelane` runs without a config file.
pub const DEFAULT: &str = include_str!("../../../configs/default.yaml");

/// Reads and checks a config file.
///
/// # Errors
/// All that is wrong with it, or that it can't be read.
pub fn load(path: &Path) -> Result<Model, Diagnostics> {
    load_after(path, &Tls::default())
}

/// The same for a config that takes the place of another: of that one's TLS stays what has not changed.
///
/// # Errors
/// All that is wrong with it, or that it can't be read.
pub fn load_after(path: &Path, before: &Tls) -> Result<Model, Diagnostics> {
    let name = path.display().to_string();
    let refuse = |message: String, span: Span, text: &str| {
        let mut diagnostics = Diagnostics::new(Source::new(&name, text));
        diagnostics.push(Diagnostic::error(span, message));
        diagnostics
    };
    let length = std::fs::metadata(path).map(|metadata| metadata.len());
    if let Ok(length) = length
        && length > yaml::FILE_BYTES_MAX as u64
    {
        let message = format!("the file has {length} bytes, more than {}", yaml::FILE_BYTES_MAX);
        return Err(refuse(message, Span::default(), ""));
    }
    let bytes = std::fs::read(path).map_err(|error| refuse(format!("can't read it: {error}"), Span::default(), ""))?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => parse_after(&name, text, before),
        Err(error) => {
            let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            let line = valid.matches('\n').count() as u32 + 1;
            let column = valid.rsplit('\n').next().unwrap_or_default().chars().count() as u32 + 1;
            let text = String::from_utf8_lossy(&bytes);
            Err(refuse("the file isn't UTF-8 here".to_string(), Span { line, column, width: 1 }, &text))
        }
    }
}

/// Reads and checks a config; `name` is what messages call it, and files that it names are looked for beside it.
///
/// # Errors
/// All that is wrong with it.
pub fn parse(name: &str, text: &str) -> Result<Model, Diagnostics> {
    parse_after(name, text, &Tls::default())
}

fn parse_after(name: &str, text: &str, before: &Tls) -> Result<Model, Diagnostics> {
    let source = Source::new(name, text);
    let mut diagnostics = Diagnostics::new(source.clone());
    let Some(root) = yaml::parse(text, &mut diagnostics) else { return Err(diagnostics) };
    let clusters = checks::names(&root, &mut diagnostics);
    let mut reader = Reader { diagnostics: &mut diagnostics, clusters };
    let file = model::File::read(&root, &mut reader);
    let mut made = Tls::default();
    if let Some(file) = &file {
        made = tls::load(file, name, before, &mut diagnostics);
        checks::errors(file, &root, &mut diagnostics);
        // What is missing because of an error isn't worth a warning.
        if !diagnostics.has_errors() {
            checks::warnings(file, &mut diagnostics);
        }
    }
    match file {
        Some(file) if !diagnostics.has_errors() => Ok(Model { file, source, warnings: diagnostics, tls: made }),
        _ => Err(diagnostics),
    }
}

/// The JSON Schema of the config file, for editors.
pub fn schema() -> serde_json::Value {
    shape::json_schema(model::File::record())
}

#[cfg(test)]
mod tests;
